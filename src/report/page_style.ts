/** The page's style: light and dark by the reader's setting, no external resources. */
export const PAGE_STYLE = `
:root {
  color-scheme: light dark;
  --paper: #ffffff; --panel: #f6f7f9; --ink: #1d2430; --quiet: #5c6675; --rule: #e3e7ec;
  --faint: #d3d9e1; --kept: #1f6fb2; --cut: #c8511b; --control: #7a5ea8; --second: #b5830a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181f; --panel: #1c222b; --ink: #e6eaf0; --quiet: #9aa5b4; --rule: #2b333f;
    --faint: #3b4554; --kept: #5aa9e6; --cut: #f0884f; --control: #b79ae6; --second: #e0b74a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 76rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
}
h1 { font-size: 1.7rem; margin: 0; line-height: 1.2; }
h2 { font-size: 1.2rem; margin: 3rem 0 .4rem; }
h3 { font-size: .95rem; margin: 0; font-weight: 600; }
p { margin: .3rem 0 .8rem; max-width: 60rem; }
.quiet { color: var(--quiet); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .8rem; margin: 1.4rem 0; }
.tile { background: var(--panel); border-radius: 8px; padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.55rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tile small { color: var(--quiet); font-size: .84rem; }
.side { display: flex; gap: .5rem 1.5rem; align-items: flex-start; overflow-x: auto; }
.side > figure { flex: none; }
.wrap { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(20.5rem, 1fr)); gap: 1rem 1.2rem; }
.grid > section { min-width: 0; }
figure { margin: 0; max-width: 100%; }
.side figure { max-width: none; }
figcaption { font-weight: 600; font-size: .95rem; }
svg { --plot-background: var(--paper); color: var(--ink); overflow: visible; }
svg [aria-label$="grid"] { color: var(--rule); stroke: var(--rule); stroke-opacity: 1; }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 50%; margin-right: .35em; }
details { margin: .6rem 0; }
summary { cursor: pointer; color: var(--quiet); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; margin: .4rem 0; }
th, td { padding: .22rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th { color: var(--quiet); font-weight: 600; vertical-align: bottom; }
th.words, td.words { text-align: left; }
th:first-child, td:first-child { padding-left: 0; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
@media print { details { display: none; } }
`;
