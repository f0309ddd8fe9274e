/** Report data -> one HTML file: no script, nothing from a network, the same bytes for the same data. */
import { createHash } from 'node:crypto';
import { LACUNA_VERSION } from '../core/manifest.ts';
import type { ReportData } from './data.ts';
import { EMPTY, type Html, html, markup } from './html.ts';
import type { Content, Section } from './section.ts';
import { SECTIONS } from './sections/index.ts';
import { STYLE } from './style.ts';
import { type Figure, verdictOf } from './verdict.ts';

export interface Page {
  readonly html: string;
  /** In one sentence. */
  readonly verdict: string;
  /** Sections that stand aside, each with its reason and the commands that change that. */
  readonly notShown: readonly {
    readonly section: string;
    readonly because: string;
    readonly commands: readonly string[];
  }[];
}

/** The page of a model folder or of statistics. */
export function reportPage(data: ReportData): Page {
  const found = SECTIONS.flatMap((section) => {
    const content = section.show(data);
    return content === undefined ? [] : [{ section, content }];
  });
  const { sentence, figures } = verdictOf(data);
  const shown = found.flatMap(({ section, content }) => (content.kind === 'shown' ? [{ section, content }] : []));
  const asides = found.flatMap(({ section, content }) => (content.kind === 'aside' ? [{ section, content }] : []));
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src '${styleHash()}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="Lacuna ${LACUNA_VERSION}">
<title>${data.name} – Lacuna report</title>
<style>${markup(STYLE)}</style>
</head>
<body>
<header>
<p class="eyebrow">Lacuna report · ${data.kind === 'folder' ? 'model' : 'statistics'}</p>
<h1>${data.name}</h1>
<p class="verdict">${unbroken(sentence)}</p>
<dl class="figures">${figures.map(figureOf)}</dl>
<nav aria-label="Sections"><ul>${shown.map(({ section: { id, title } }) => html`<li><a href="#${id}">${title}</a></li>`)}</ul></nav>
</header>
<main>
${shown.map(({ section, content }) => sectionOf(section, content))}
${asides.length === 0 ? EMPTY : asidesOf(asides)}
</main>
<footer><p>Made by Lacuna ${LACUNA_VERSION}. This page holds no script and asks for nothing on the network.</p></footer>
</body>
</html>
`;
  const notShown = asides.map(({ section, content: { kind: _, ...aside } }) => ({ section: section.id, ...aside }));
  return { html: page.markup, verdict: sentence, notShown };
}

/** The one style sheet that the page's policy lets through: nothing that a file smuggles in is styled or run. */
function styleHash(): string {
  return `sha256-${createHash('sha256').update(STYLE).digest('base64')}`;
}

function figureOf({ name, value, remark }: Figure): Html {
  return html`<div><dt>${name}</dt><dd class="value">${value}</dd><dd class="remark">${remark}</dd></div>\n`;
}

/** No line ends between a number and its unit. */
function unbroken(text: string): string {
  return text.replace(/(\d) (?=%|[kMGT]?B\b)/g, '$1\u00a0');
}

type Shown = Extract<Content, { readonly kind: 'shown' }>;
type Aside = Extract<Content, { readonly kind: 'aside' }>;

function sectionOf({ id, title }: Section, { lede, body }: Shown): Html {
  return html`<section id="${id}" aria-labelledby="${id}-heading">
<h2 id="${id}-heading">${title}</h2>
<p class="lede">${typeof lede === 'string' ? unbroken(lede) : lede}</p>
${body}
</section>
`;
}

/** What the page does not show, why, and what would change that. */
function asidesOf(asides: readonly { readonly section: Section; readonly content: Aside }[]): Html {
  return html`<section id="not-shown" aria-labelledby="not-shown-heading">
<h2 id="not-shown-heading">Not shown</h2>
<p class="lede">DIR stands for this folder, and FP32-DIR for what lacuna convert makes of its checkpoint.</p>
<ul class="unmeasured">${asides.map(
    ({ section, content: { because, commands } }) =>
      html`<li><strong>${section.title}</strong>: ${because}.${commands.map((command) => html`<br><code>${command}</code>`)}</li>
`,
  )}</ul>
</section>`;
}
