"""The style sheet of the page: that of the evaluations, and what the drawings here need."""

from shared.evaluation.page_style import STYLE as BASE

STYLE = (
    BASE
    + """
nav { margin: 14px 0 0; display: flex; flex-wrap: wrap; gap: 6px 18px; }
a { color: var(--accent); }
.plot { display: block; width: 100%; height: auto; margin: 0 auto; }
.pair .plot { margin: 0; }
.bar, .cell, .together { fill: var(--accent); }
.against { fill: var(--second); }
.ground { fill: var(--faint); }
.axis { stroke: var(--line); stroke-width: 1; }
.second { fill: none; stroke: var(--second); stroke-width: 2; }
.mark-line { stroke: var(--second); stroke-width: 1.5; stroke-dasharray: 4 3; }
.mark-name { fill: var(--second); font-size: 11px; }
.tick { fill: var(--soft); font-size: 11px; }
.word { fill: var(--ink); font-size: 12px; }
.strip { width: 120px; height: 22px; display: block; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 460px)); gap: 24px;
  align-items: start; }
.cards.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr)); }
.swatch { width: 14px; height: 14px; border-radius: 3px; display: inline-block; }
.swatch.together { background: var(--accent); }
.swatch.against { background: var(--second); margin-left: 12px; }
"""
)
