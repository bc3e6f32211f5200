# Lays out the figures of races: a row for each verb, least and median for each contestant.
#
# columns: the contestants, as `ours peer`.
# ratios: which medians to divide, as `peer/ours`.
# targets: what to hold a ratio against, as `ADD:peer/ours:least:4.0 DEL:ours/floor:most:2`.
# label: the width of the first column, by default 8.

BEGIN {
    FS = "\t"
    if (!label) label = 8
}

{
    least[$1, $2] = $3 / 1000
    median[$1, $2] = $4 / 1000
    if (!($1 in seen)) { seen[$1] = 1; verb[++verbs] = $1 }
}

function verdict(name, ratio, value,    count, list, i, part, met) {
    count = split(targets, list, " ")
    for (i = 1; i <= count; i++) {
        split(list[i], part, ":")
        if (part[1] != name || part[2] != ratio) continue
        met = part[3] == "least" ? value >= part[4] : value <= part[4]
        return sprintf("  %s (target %s at %s %.1fx)", met ? "ok" : "MISSED", ratio, part[3], part[4])
    }
    return ""
}

END {
    count = split(columns, column, " ")
    ratio_count = split(ratios, ratio, " ")

    line = sprintf("%-*s", label, "")
    units = line
    for (i = 1; i <= count; i++) {
        line = line sprintf("%18s", column[i])
        units = units sprintf("%9s%9s", "min", "median")
    }
    for (i = 1; i <= ratio_count; i++) {
        width[i] = length(ratio[i]) + 2
        line = line sprintf("%*s", width[i], ratio[i])
    }
    printf "%s\n%s\n", line, units

    for (row = 1; row <= verbs; row++) {
        name = verb[row]
        line = sprintf("%-*s", label, name)
        for (i = 1; i <= count; i++) {
            key = name SUBSEP column[i]
            if (key in median) line = line sprintf("%9.2f%9.2f", least[key], median[key])
            else line = line sprintf("%9s%9s", "-", "-")
        }
        notes = ""
        for (i = 1; i <= ratio_count; i++) {
            split(ratio[i], side, "/")
            if (((name, side[1]) in median) && ((name, side[2]) in median)) {
                value = median[name, side[1]] / median[name, side[2]]
                line = line sprintf("%*s", width[i], sprintf("%.2fx", value))
                notes = notes verdict(name, ratio[i], value)
            } else line = line sprintf("%*s", width[i], "-")
        }
        print line notes
    }
}
