// A runtime that is nothing but libcni, the library by which containerd, CRI-O and podman call plugins.
//
//	libcni-driver VERB CONFLIST CONTAINER NETNS [CAPABILITIES [ARGS]]
//
// VERB is add, check, del, cached or validate; NETNS is a path or empty; CAPABILITIES is a JSON object; ARGS is as
// CNI_ARGS has it. Plugins are looked for in $CNI_PATH. What the library returns is printed as JSON; its error is
// printed as text, with status 1.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
)

func main() {
	result, err := run(os.Args[1:])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if result != nil {
		if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
			panic(err)
		}
	}
}

func run(words []string) (interface{}, error) {
	words = append(words, "", "", "")
	list, err := libcni.ConfListFromFile(words[1])
	if err != nil {
		return nil, err
	}
	attachment := &libcni.RuntimeConf{ContainerID: words[2], NetNS: words[3], IfName: "eth0"}
	if words[4] != "" {
		if err := json.Unmarshal([]byte(words[4]), &attachment.CapabilityArgs); err != nil {
			return nil, err
		}
	}
	for _, pair := range strings.Split(words[5], ";") {
		if key, value, found := strings.Cut(pair, "="); found {
			attachment.Args = append(attachment.Args, [2]string{key, value})
		}
	}
	library := libcni.NewCNIConfig(filepath.SplitList(os.Getenv("CNI_PATH")), nil)
	ctx := context.Background()
	switch words[0] {
	case "add":
		return library.AddNetworkList(ctx, list, attachment)
	case "check":
		return nil, library.CheckNetworkList(ctx, list, attachment)
	case "del":
		return nil, library.DelNetworkList(ctx, list, attachment)
	case "cached":
		return library.GetNetworkListCachedResult(list, attachment)
	case "validate":
		return library.ValidateNetworkList(ctx, list)
	}
	return nil, fmt.Errorf("no such verb: %s", words[0])
}
