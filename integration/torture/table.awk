# One table of what `make torture` did: for each plugin or chain and verb, how many points there were, how many
# were tried, in how many the program died or answered with an error, after how many failed ADDs the next DEL
# had something to remove, and how many problems there were; and the sums.
BEGIN {
    FS = "\t"
    form = "%-19s %-45s %8s %8s %8s %9s %9s\n"
    printf form, "what", "of", "points", "tried", "bit", "until DEL", "problems"
}
{
    printf form, $1, $2, $3, $4, $5, $6, $7
    if (!($1 in points)) order[++kinds] = $1
    points[$1] += $3; tried[$1] += $4; bit[$1] += $5; until[$1] += $6; problems[$1] += $7
}
END {
    for (i = 1; i <= kinds; i++) {
        kind = order[i]
        printf form, kind, "all", points[kind], tried[kind], bit[kind], until[kind], problems[kind]
    }
}
