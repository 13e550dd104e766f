"""The report: one page of HTML that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from importlib import resources

from equipoise.lab.catalogue import SETS, published
from equipoise.lab.drawings import Drawing
from equipoise.lab.drift import Drifted
from equipoise.lab.figures.style import svg
from equipoise.lab.gains import BEST_OTHER, PAPER, Gain
from equipoise.lab.grid import EXACT, OURS
from equipoise.lab.numbers import Numbers
from equipoise.lab.paper import Comparison, Group
from equipoise.lab.words import percent, signed_percent, signed_points
from equipoise.planning.strategies import STRATEGIES

_SECTIONS = {  # by the first word of a drawing's name
    "gains": ("Gains", "How much more than each strategy, wherever both have a plan."),
    "frontier": ("Frontiers", "All promises of rate and accuracy that each strategy can make on a cluster."),
    "promises": (
        "Promises kept",
        "400 pairs of a rate and an accuracy floor; over the name of a map, the part that the strategy keeps of those "
        "that anyone can keep.",
    ),
    "drift": (
        "Under drift",
        "Simulated: boards slow down, leave, or are not what their profiles say, while a request runs.",
    ),
    "planning": ("Planning time", "How long it takes to decide, on the machine that made this page."),
}


def page(numbers: Numbers, drawings: Sequence[Drawing], command: str) -> str:
    """The whole page. `command` is what makes it and every figure on it."""
    paper = numbers.groups["paper"]
    rival = strongest(paper)
    body = "\n".join(
        [
            _header(paper, rival),
            _nav(drawings),
            "<main>",
            _cards(paper, rival, numbers.drift),
            *_sections(numbers, drawings, command),
            _definitions(),
            _sources(),
            f"<footer>Made by <code>{escape(command)}</code>. Nothing was run on boards: the figures of this page are "
            "what the planner's cost model, and under drift the simulation, make of published latencies and "
            "accuracies.</footer>",
            "</main>",
        ]
    )
    css = (resources.files(__package__) / "page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>Equipoise: the paper's evaluation</title>\n<style>\n{css}</style>\n</head>\n<body>\n{body}\n</body>\n"
        "</html>\n"
    )


def strongest(group: Group) -> str:
    """The strategy over which the mean throughput gain is least, of those that need no solver."""
    names = [n for n in group.gains if n != BEST_OTHER and not STRATEGIES[n].solver]
    return min(names, key=lambda name: group.gains[name].throughput.mean or 0.0)


def _header(paper: Group, rival: str) -> str:
    gain = paper.gains[rival]
    return (
        "<header><div><h1>Choosing shares and model variants together: "
        f"{signed_percent(gain.throughput.mean)} throughput at equal accuracy</h1>"
        f"<p>On the paper's three boards (Odroid XU4, Raspberry Pi 4, Jetson Nano), Equipoise infers "
        f"{percent(gain.throughput.mean or 0.0)} more items per second at the same accuracy than <b>{rival}</b>, the "
        f"strongest of the strategies that need no solver, and keeps {percent(paper.kept)} of the promises that anyone "
        f"can keep, where {rival} keeps {percent(gain.kept)}.</p></div></header>"
    )


def _nav(drawings: Iterable[Drawing]) -> str:
    kinds = dict.fromkeys(_kind(drawing) for drawing in drawings)
    links = [(kind, _SECTIONS[kind][0]) for kind in kinds] + [("definitions", "Definitions"), ("sources", "Sources")]
    return "<nav><div>" + "".join(f'<a href="#{kind}">{title}</a>' for kind, title in links) + "</div></nav>"


def _kind(drawing: Drawing) -> str:
    return drawing.name.split("-")[0]


def _cards(paper: Group, rival: str, drift: Sequence[Drifted]) -> str:
    gain, best = paper.gains[rival], paper.gains[BEST_OTHER]
    cards = [
        (
            signed_percent(gain.throughput.mean),
            f"items per second at equal accuracy, over {rival}",
            f"worst level {signed_percent(gain.throughput.worst)}; the best of all others at each level, in hindsight: "
            f"{signed_percent(best.throughput.mean)}; the paper reports {signed_percent(PAPER.throughput, 2)} over "
            "its own opponents",
        ),
        (
            signed_points(gain.accuracy.mean),
            f"points of accuracy at equal throughput, over {rival}",
            f"where it has a plan; at {percent(gain.accuracy.lacking)} of the rates it has none. The paper reports "
            f"{signed_points(PAPER.accuracy, 1)}",
        ),
        (
            percent(paper.kept),
            "of the promises that anyone can keep are kept",
            f"{rival} keeps {percent(gain.kept)} of {paper.feasible} pairs of a rate and a floor",
        ),
    ]
    cards.append(_drift_card(drift))
    if EXACT in paper.gains:
        exact = paper.gains[EXACT].throughput
        cards.append(
            (
                percent(-(exact.worst or 0.0), 2),
                "below the exact solver at worst",
                f"in throughput; {percent(-(exact.mean or 0.0), 3)} on average. From what a clairvoyant who may split "
                f"items could have it is {percent(paper.gap, 2)} away at worst",
            )
        )
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="card"><b>{value}</b><span>{escape(what)}</span><i>{escape(more)}</i></div>'
            for value, what, more in cards
        )
        + "</div>"
    )


def _drift_card(drift: Sequence[Drifted]) -> tuple[str, str, str]:
    """Of what was admitted when something happens, the part that was kept: ours, and the best other's."""
    kept: dict[str, float] = {}
    calm = {one.strategy: one.attainment.accuracy or 0.0 for one in drift if one.drift == "nothing"}
    for name in dict.fromkeys(one.strategy for one in drift):
        mine = [one.attainment for one in drift if one.strategy == name and one.drift != "nothing"]
        if admitted := sum(one.admitted for one in mine):
            kept[name] = sum(one.kept for one in mine) / admitted
    ours = kept.pop(OURS)
    rival = max(kept, key=lambda name: (kept[name], calm[name]))
    what = "of admitted promises are kept when boards slow down, leave or are misjudged"
    return (
        percent(ours),
        what,
        (
            f"the best other, {rival}: {percent(kept[rival])}, with a median accuracy of {percent(calm[rival])} for "
            f"our {percent(calm[OURS])} when nothing happens"
        ),
    )


def _sections(numbers: Numbers, drawings: Sequence[Drawing], command: str) -> Iterator[str]:
    for kind in dict.fromkeys(_kind(drawing) for drawing in drawings):
        title, words = _SECTIONS[kind]
        yield f'<section id="{kind}"><h2>{title}</h2><p>{escape(words)}</p>'
        for drawing in (drawing for drawing in drawings if _kind(drawing) == kind):
            yield _figure(drawing, command)
            if kind == "gains":
                yield _gains_table(numbers.groups[drawing.name.removeprefix("gains-")])
        yield "</section>"


def _figure(drawing: Drawing, command: str) -> str:
    drawn = svg(drawing.figure, prefix=f"{drawing.name}-", label=escape(drawing.title))
    return (
        f'<figure><h3>{escape(drawing.title)}</h3><div class="drawn">{drawn}</div>'
        f"<figcaption>{escape(drawing.caption)} Made by "
        f'<code>{escape(command)}</code>; as <a href="figures/{drawing.name}.svg">SVG</a> and '
        f'<a href="figures/{drawing.name}.png">PNG</a>.</figcaption></figure>'
    )


def _gains_table(group: Group) -> str:
    heads = ["mean", "median", "worst", "no plan"]
    head = "".join(f"<th>{what}</th>" for what in ["gain over", *heads, *heads, "it keeps"])
    rows = "".join(_gains_row(name, comparison) for name, comparison in group.gains.items())
    return (
        f'<div class="scroll"><table><thead><tr><th></th><th colspan="4">throughput, %</th>'
        f'<th colspan="4">accuracy, points</th><th></th></tr><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        f"<p>{group.clusters} {'cluster' if group.clusters == 1 else 'clusters'}, batches of "
        f"{', '.join(map(str, group.items))} items. Equipoise keeps {percent(group.kept)} of the {group.feasible} "
        f"pairs that anyone can keep. No plan of it is further than {percent(group.gap, 2)} from a bound that none can "
        "beat.</p>"
    )


def _gains_row(name: str, comparison: Comparison) -> str:
    def cells(gain: Gain, told: Callable[[float], str]) -> Iterator[str]:
        for value in (gain.mean, gain.median, gain.worst):
            yield "-" if value is None else told(value)
        yield percent(gain.lacking)

    values = [
        *cells(comparison.throughput, lambda value: signed_percent(value, 2).removesuffix(" %")),
        *cells(comparison.accuracy, signed_points),
        percent(comparison.kept),
    ]
    kind = ' class="total"' if name in (BEST_OTHER, EXACT) else ""
    return f"<tr{kind}><td>{name}</td>" + "".join(f"<td>{value}</td>" for value in values) + "</tr>"


def _definitions() -> str:
    return (
        '<section id="definitions"><h2>Definitions</h2>'
        "<p><b>Throughput gain at equal accuracy</b>: rate(equipoise, a) / rate(S, a) - 1, where rate(S, a) is the "
        "items per second of S's fastest plan with at least the expected accuracy a. <b>Accuracy gain at equal "
        "throughput</b>: accuracy(equipoise, r) - accuracy(S, r), where accuracy(S, r) is that of S's most accurate "
        "plan with at least r items per second. Floors a are the middles of equal steps from the accuracy of the "
        "fastest plan up to that of the most accurate variant; rates r are the middles of equal steps from 0 up to "
        "that plan's rate. Where S has no plan, nothing can be divided: such levels are counted apart, and are no part "
        "of the means.</p>"
        f"<p><b>{BEST_OTHER}</b>: the best of all strategies but equipoise and {EXACT} at each level, chosen in "
        f"hindsight. <b>{EXACT}</b> solves the same problem exactly, for as long as it takes. Every strategy is "
        "described, with its source, in docs/strategies.md; everything else in docs/paper.md.</p></section>"
    )


def _sources() -> str:
    rows = []
    for name in SETS:
        for board in published(name).boards:
            rows += [
                f"<tr><td>{escape(board.title)}</td>"
                + "".join(f'<td class="words">{escape(t)}</td>' for t in (p.what, p.runtime, p.source, p.licence))
                + "</tr>"
                for p in board.processors
            ]
    return (
        '<section id="sources"><h2>Sources</h2><p>Latencies at batch 1, as published; nothing is scaled. Accuracies, '
        "with their sources, are listed by <code>equipoise lab boards --json</code>.</p>"
        '<div class="scroll"><table><thead><tr><th>board</th>'
        + "".join(f'<th class="words">{what}</th>' for what in ("processor", "runtime", "source", "licence"))
        + f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )
