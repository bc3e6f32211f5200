"""Draws what containers got over time as an SVG."""

WIDTH, HEIGHT = 760, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 40, 44
COLOURS = ("#1f6feb", "#d9480f", "#2b8a3e")


def draw(path, series, step, most):
    """Writes `path`; each of the series is a name, its first step, and a rate in Mbit/s for every step."""
    steps = max(begin + len(rates) for _, begin, rates in series)
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    top = most * 1.08

    def x(at):
        return LEFT + across * at / steps

    def y(rate):
        return TOP + down * (1 - min(rate, top) / top)

    def text(where, words, anchor="middle", colour="#444", extra=""):
        return (f'<text x="{where[0]:.1f}" y="{where[1]:.1f}" text-anchor="{anchor}" '
                f'fill="{colour}"{extra}>{words}</text>')

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for rate in range(0, most + 1, 100):
        lines.append(
            f'<path d="M{LEFT} {y(rate):.1f}H{WIDTH - RIGHT}" stroke="{"#888" if rate == 0 else "#e3e3e3"}"/>')
        lines.append(text((LEFT - 8, y(rate) + 4), rate, "end"))
    for second in range(0, int(steps * step) + 1):
        lines.append(text((x(second / step), HEIGHT - BOTTOM + 18), second))
    lines.append(text((LEFT + across / 2, HEIGHT - 8), "seconds"))
    lines.append(text((LEFT - 8, TOP - 12), "Mbit/s", "end"))
    for index, (name, begin, rates) in enumerate(series):
        colour = COLOURS[index]
        points = " ".join(f"{x(begin + at + 0.5):.1f},{y(rate):.1f}" for at, rate in enumerate(rates))
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        place = LEFT + 20 + index * 220
        lines.append(f'<path d="M{place} {TOP - 16}h22" stroke="{colour}" stroke-width="3"/>')
        lines.append(text((place + 30, TOP - 12), name, "start", colour))
    lines.append("</svg>")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
