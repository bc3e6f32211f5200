// swift-tools-version: 6.2
import PackageDescription

/// What every Swift target of ours is held to.
let strict: [SwiftSetting] = [
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

/// swift-system: file descriptors, paths and errno.
let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")

let package = Package(
    name: "swift-cni",
    products: [
        .executable(name: "swift-cni", targets: ["swift-cni"]),
        .executable(name: "cnictl", targets: ["cnictl"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
        .package(url: "https://github.com/apple/swift-system", from: "1.6.0"),
    ],
    targets: [
        .systemLibrary(
            name: "CMnl", pkgConfig: "libmnl", providers: [.apt(["libmnl-dev"])]),
        .systemLibrary(
            name: "CNftnl", pkgConfig: "libnftnl", providers: [.apt(["libnftnl-dev"])]),
        .systemLibrary(
            name: "CJansson", pkgConfig: "jansson", providers: [.apt(["libjansson-dev"])]),
        .systemLibrary(name: "CMd", pkgConfig: "libmd", providers: [.apt(["libmd-dev"])]),
        .target(name: "CLinux"),
        .target(name: "CSystemd"),

        .target(name: "Plan", swiftSettings: strict),
        .target(name: "Addressing", swiftSettings: strict),
        .target(
            name: "CNI", dependencies: ["Addressing", "CJansson"], swiftSettings: strict),
        .target(
            name: "Netlink", dependencies: ["CLinux", "CMnl", system], swiftSettings: strict),
        .target(
            name: "Nftables", dependencies: ["CLinux", "CNftnl", "Netlink", system],
            swiftSettings: strict),
        .target(name: "SystemBus", dependencies: ["CSystemd", system], swiftSettings: strict),
        .target(
            name: "Rtnetlink", dependencies: ["Addressing", "CLinux", "Netlink", "Plan", system],
            swiftSettings: strict),
        .target(
            name: "TrafficControl",
            dependencies: [
                "Addressing", "CLinux", "Netlink", "Nftables", "Plan", "Rtnetlink", system,
            ],
            swiftSettings: strict),
        .target(
            name: "IPAM", dependencies: ["Addressing", "CLinux", "CNI", system],
            swiftSettings: strict),
        .target(
            name: "PluginRuntime",
            dependencies: ["Addressing", "CLinux", "CNI", "Netlink", "Plan", "Rtnetlink", system],
            swiftSettings: strict),
        .target(
            name: "Plugins",
            dependencies: [
                "Addressing", "CMd", "CNI", "IPAM", "Netlink", "Nftables", "Plan",
                "PluginRuntime", "Rtnetlink", "SystemBus", "TrafficControl", system,
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "swift-cni", dependencies: ["PluginRuntime", "Plugins"], swiftSettings: strict),
        .target(
            name: "Operator",
            dependencies: [
                "Addressing", "CLinux", "CNI", "IPAM", "Netlink", "Nftables", "Plan",
                "PluginRuntime", "Plugins", "Rtnetlink", "TrafficControl", system,
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "cnictl",
            dependencies: [
                "Addressing", "CNI", "Operator", "Plan", "PluginRuntime", "Plugins", "Rtnetlink",
                "TrafficControl",
                .product(name: "ArgumentParser", package: "swift-argument-parser"), system,
            ],
            swiftSettings: strict),

        .testTarget(name: "AddressingTests", dependencies: ["Addressing"]),
        .testTarget(name: "CNITests", dependencies: ["Addressing", "CNI"]),
        .testTarget(name: "PlanTests", dependencies: ["Plan"]),
        .testTarget(name: "NetlinkTests", dependencies: ["CLinux", "Netlink"]),
        .testTarget(name: "TrafficControlTests", dependencies: ["TrafficControl"]),
        .testTarget(name: "NftablesTests", dependencies: ["Netlink", "Nftables"]),
        .testTarget(name: "IPAMTests", dependencies: ["Addressing", "CNI", "IPAM"]),
        .testTarget(
            name: "PluginTests",
            dependencies: [
                "Addressing", "CNI", "Netlink", "Plan", "PluginRuntime", "Plugins", "Rtnetlink",
                "TrafficControl", system,
            ]),
        .testTarget(
            name: "OperatorTests",
            dependencies: [
                "Addressing", "CNI", "Operator", "Plan", "PluginRuntime", "Plugins", "Rtnetlink",
                "TrafficControl",
            ]),
        // The fuzzers' targets, and what runs the corpus through them in an ordinary build.
        .target(
            name: "Fuzz",
            dependencies: [
                "Addressing", "CLinux", "CNI", "IPAM", "Netlink", "PluginRuntime", "Plugins",
                system,
            ],
            path: "Tests/Fuzz", exclude: ["corpus"]),
        .executableTarget(name: "replay", dependencies: ["Fuzz"], path: "Tests/Replay"),
        .testTarget(
            name: "IntegrationTests", dependencies: ["CLinux"], path: "integration",
            exclude: [
                "bench", "guest", "lacking", "package", "runtime", "torture/interfere.c",
                "torture/table.awk", "demo.sh", "fetch-peer.sh", "install-packages.sh",
            ]),
    ],
    swiftLanguageModes: [.v6]
)

// The fuzzer, whose every module must be instrumented: `make fuzz` asks for it.
if Context.environment["FUZZ"] != nil {
    package.products.append(.library(name: "Fuzz", type: .static, targets: ["Fuzz"]))
}
