/** The style sheet of every page: one column, quiet colours, light and dark by the reader's choice, and paper. */

const LIGHT = `
  --page: #fdfdfb; --card: #f5f5f1; --ink: #1d2025; --muted: #5f6670; --line: #dcddd8;
  --first: #1f5f9e; --second: #c2581a; --third: #6f5a9a; --good: #1f7a4d; --bad: #b3261e;
  --heat-0: #fdf3d8; --heat-1: #f9dfa8; --heat-2: #f2c47a; --heat-3: #e5a05f;
  --heat-4: #cf7858; --heat-5: #ab5560; --heat-6: #7a3d66; --heat-7: #432c5e;
  --shade-0: #fbf7ec; --shade-1: #f8e9c9; --shade-2: #f4d7a1; --shade-3: #eebf78; --shade-4: #e6a355; --shade-5: #dd8a3c;
  --on-shade: #1d2025;`;

const DARK = `
  --page: #15171b; --card: #1d2025; --ink: #e8eaed; --muted: #a2a9b4; --line: #343941;
  --first: #7db4ec; --second: #f09a5c; --third: #b9a3e3; --good: #6fce9f; --bad: #ff8a80;
  --heat-0: #2b2340; --heat-1: #4b2f5a; --heat-2: #743e66; --heat-3: #9f5164;
  --heat-4: #c46a5d; --heat-5: #e08d5b; --heat-6: #f2b872; --heat-7: #fbe6b0;
  --shade-0: #1d2025; --shade-1: #33291f; --shade-2: #4b3620; --shade-3: #664521; --shade-4: #835522; --shade-5: #a26724;
  --on-shade: #f3efe8;`;

export const STYLE = `
:root { color-scheme: light dark; ${LIGHT} }
@media screen and (prefers-color-scheme: dark) { :root { ${DARK} } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink); line-height: 1.55; font-size: 1rem;
  font-family: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums;
}
main, header, footer { max-width: 68rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 3rem; }
.eyebrow { margin: 0; color: var(--muted); font-size: .8rem; letter-spacing: .09em; text-transform: uppercase; }
h1 { margin: .2rem 0 1rem; font-size: clamp(1.7rem, 4vw, 2.5rem); line-height: 1.15; letter-spacing: -.02em; overflow-wrap: anywhere; }
.verdict { margin: 0; max-width: 46rem; font-size: clamp(1.05rem, 2vw, 1.25rem); line-height: 1.5; overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 1px; margin: 2rem 0 0; padding: 0;
  border: 1px solid var(--line); border-radius: .6rem; overflow: hidden; background: var(--line); }
.figures > div { padding: .9rem 1.1rem 1rem; background: var(--page); }
.figures dt { color: var(--muted); font-size: .82rem; }
.figures dd { margin: 0; }
.figures .value { font-size: clamp(1.2rem, 5vw, 1.55rem); font-weight: 600; letter-spacing: -.01em; line-height: 1.3; overflow-wrap: anywhere; }
.figures .remark { color: var(--muted); font-size: .82rem; line-height: 1.4; overflow-wrap: anywhere; }
nav { margin: 1.5rem 0 0; font-size: .88rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: 0; padding: 0; list-style: none; }
a { color: var(--first); text-underline-offset: .18em; text-decoration-thickness: 1px; }
section { margin: 3rem 0 0; padding: 2rem 0 0; border-top: 1px solid var(--line); }
h2 { margin: 0 0 .35rem; font-size: 1.35rem; letter-spacing: -.01em; line-height: 1.25; }
.lede { margin: 0 0 1.4rem; max-width: 46rem; color: var(--muted); overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 2rem 2.5rem; align-items: start; }
.charts.wide { grid-template-columns: minmax(0, 34rem); }
.chart { margin: 0; min-width: 0; }
.chart > svg { display: block; width: 100%; height: auto; overflow: visible; }
figcaption { font-weight: 600; font-size: .95rem; line-height: 1.35; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: .3rem 0 .5rem; padding: 0; list-style: none; color: var(--muted); font-size: .84rem; }
.legend li { display: flex; align-items: center; gap: .4rem; }
.legend svg { width: 1.4rem; height: .75rem; flex: none; }
details { margin-top: .7rem; font-size: .9rem; }
summary { width: fit-content; color: var(--muted); cursor: pointer; }
summary:hover { color: var(--ink); }
.scroll { max-width: 100%; margin: .6rem 0 0; overflow-x: auto; }
.scroll:focus-visible, summary:focus-visible, a:focus-visible { outline: 2px solid var(--first); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .87rem; line-height: 1.45; }
caption { padding: .4rem 0; color: var(--muted); text-align: left; }
th, td { padding: .28rem 1rem .28rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; white-space: nowrap; }
th { color: var(--muted); font-weight: 500; }
.number { text-align: right; }
.prose { display: block; min-width: 20rem; max-width: 42rem; white-space: normal; }
pre { margin: .6rem 0 0; padding: .8rem 1rem; border-radius: .5rem; background: var(--card); font-size: .82rem; line-height: 1.6; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; }
code { font-size: .92em; }
.hash { overflow-wrap: anywhere; white-space: normal; }
td .hash { white-space: nowrap; }
.note { max-width: 46rem; margin: .8rem 0 0; color: var(--muted); font-size: .88rem; }
.missing { max-width: 46rem; }
.aside { min-width: 0; }
.facts { margin: 0; font-size: .92rem; }
.facts > div { display: grid; grid-template-columns: minmax(8rem, 12rem) minmax(0, 1fr); gap: 0 1.2rem; padding: .4rem 0; border-bottom: 1px solid var(--line); }
.facts dt { color: var(--muted); overflow-wrap: anywhere; }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.sample { margin: 0; padding: 1rem 1.2rem; border: 1px solid var(--line); border-radius: .6rem; font-size: 1.02rem; line-height: 1.95; white-space: pre-wrap; overflow-wrap: anywhere; }
.sample span { padding: .14em 0; border-radius: .2em; color: var(--on-shade); }
${Array.from({ length: 6 }, (_, step) => `.sample .shade-${step} { background: var(--shade-${step}); }`).join('\n')}
.unmeasured { margin: 0; padding: 0; list-style: none; }
.unmeasured li { padding: .55rem 0; border-bottom: 1px solid var(--line); }
.unmeasured code { color: var(--muted); overflow-wrap: anywhere; }
.warnings { padding-left: 1.2rem; color: var(--muted); }
footer { margin-top: 4rem; padding-bottom: 3rem; color: var(--muted); font-size: .85rem; }
footer p { margin: 0; padding-top: 1rem; border-top: 1px solid var(--line); }
@media (max-width: 34rem) {
  .facts > div { grid-template-columns: minmax(0, 1fr); }
  header { padding-top: 1.8rem; }
  section { margin-top: 2.2rem; padding-top: 1.5rem; }
}
@media print {
  @page { margin: 16mm; }
  body { font-size: 10pt; }
  main, header, footer { max-width: none; padding: 0; }
  nav, .chart details { display: none; }
  .charts { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1rem 1.4rem; }
  .charts.wide { grid-template-columns: minmax(0, 60%); }
  section { margin-top: 1.6rem; padding-top: 1rem; }
  .chart, .figures, .sample, tr { break-inside: avoid; }
  h2, figcaption, .lede { break-after: avoid; }
  .sample span, .legend svg, .chart > svg { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
`;
