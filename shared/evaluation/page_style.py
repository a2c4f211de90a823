"""The style sheet of the report: light, dark and paper."""

STYLE = """
:root { --ink: #17212b; --soft: #5a6875; --line: #d5dce2; --faint: #eef1f4; --ground: #fff;
  --accent: #0b63a5; --second: #b4530a; --under: #0b63a51a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ee; --soft: #9aa8b5; --line: #33404c;
  --faint: #1d2630; --ground: #121920; --accent: #64b5f6; --second: #ffab66; --under: #64b5f626; } }
@media print { :root { --ink: #000; --soft: #444; --line: #bbb; --faint: #f2f2f2; --ground: #fff;
  --accent: #0b4f85; --second: #94430a; --under: #0b4f8514; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0; letter-spacing: -0.01em;
  overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 40px 0 10px; }
h3 { font-size: 16px; margin: 24px 0 8px; }
.kind { margin: 0 0 2px; color: var(--soft); }
.on { margin: 2px 0 20px; font-size: 19px; color: var(--soft); overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); gap: 14px 24px;
  margin: 0; padding: 16px 18px; background: var(--faint); border-radius: 10px; }
.facts dt { color: var(--soft); font-size: 13px; }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.facts code { font-size: 12px; }
.level { font-weight: 600; }
.level.demo { color: var(--second); }
.note { max-width: 78ch; color: var(--soft); }
.legend { color: var(--soft); display: flex; flex-wrap: wrap; align-items: center; gap: 8px; }
.mark { width: 11px; height: 11px; border-radius: 50%; border: 2.5px solid var(--accent); }
.mark.point { background: var(--accent); }
.mark.fitted { border-color: var(--second); margin-left: 14px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 10px; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
thead th { color: var(--soft); font-weight: 500; font-size: 13px; vertical-align: bottom;
  white-space: normal; line-height: 1.25; }
tbody th { text-align: left; font-weight: 600; }
th:first-child { text-align: left; padding-left: 0; }
td:last-child, th:last-child { padding-right: 0; }
.words, .groups th:nth-child(2), .listing th, .listing td { text-align: left; }
small { color: var(--soft); font-size: 13px; }
.file { font-weight: 400; font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 13px;
  white-space: normal; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 520px), 1fr));
  gap: 20px; }
figure { margin: 0; padding: 14px 16px 8px; border: 1px solid var(--line); border-radius: 10px;
  break-inside: avoid; }
figcaption { display: flex; flex-wrap: wrap; gap: 2px 12px; justify-content: space-between;
  margin-bottom: 6px; }
figcaption span { color: var(--soft); font-size: 14px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 6px; }
.empty { color: var(--soft); align-self: center; text-align: center; }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 9.5px; fill: var(--soft); }
svg .label { font-size: 10.5px; }
svg .grid { stroke: var(--line); stroke-width: 0.6; }
svg .axis { stroke: var(--line); }
svg .chance { stroke: var(--soft); stroke-width: 0.9; stroke-dasharray: 3 3; }
svg .under { fill: var(--under); }
svg .curve { fill: none; stroke: var(--accent); stroke-width: 1.8; stroke-linejoin: round; }
svg .joint { fill: none; stroke: var(--accent); stroke-width: 1; opacity: 0.55; }
svg .interval { stroke: var(--accent); stroke-width: 1.4; }
svg .point { fill: var(--accent); stroke: var(--ground); stroke-width: 1; }
svg .fitted { fill: var(--ground); stroke: var(--second); stroke-width: 2; }
svg.strip { width: 140px; height: 14px; }
ul { padding-left: 20px; max-width: 82ch; color: var(--soft); }
li { margin: 4px 0; }
@media (max-width: 620px) { main { padding: 20px 14px 40px; }
  .pair { grid-template-columns: 1fr; } }
@media print { main { max-width: none; padding: 0; } body { font-size: 10pt; }
  h2 { break-after: avoid; } tr { break-inside: avoid; } .scroll { overflow: visible; }
  th, td { padding: 3px 6px; } table { font-size: 8pt; } small { font-size: 7pt; }
  .cards { grid-template-columns: 1fr 1fr; } svg.strip { width: 80px; }
  @page { size: A4 landscape; margin: 14mm; } }
"""
