/** The documentation's form: what a reader's screen holds, links that lead somewhere, and plain words. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { root } from './temporary.ts';

const documents = [
  'README.md',
  'ARCHITECTURE.md',
  'CHANGELOG.md',
  ...readdirSync(join(root, 'docs'), { encoding: 'utf8', recursive: true })
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];
const linesOf = (document: string) => readFileSync(join(root, document), 'utf8').split('\n');

const MOST_TABLE_COLUMNS = 100;
const MOST_TEXT_COLUMNS = 120;
/** Words whose sentences have to be read twice. */
const BANNED = /\b(so many|what of|of before|(are|is) told|thereof|wherein)\b/i;

/** An anchor as GitHub makes it from a heading. */
const anchorOf = (heading: string) =>
  heading
    .replace(/^#+ /, '')
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
const anchorsOf = (document: string) =>
  linesOf(document)
    .filter((line) => line.startsWith('#'))
    .map(anchorOf);

it('are found', () => expect(documents.length).toBeGreaterThan(14));

it('name one version of the compiler that builds the package', () => {
  const places = ['README.md', 'docs/native.md', '.ci/run', 'scripts/build-native.js'];
  const versions = places.map(
    (place) => /(?:ziglang|zig)\b\D{1,16}(\d+\.\d+\.\d+)/i.exec(linesOf(place).join('\n'))?.[1],
  );
  expect(versions[0]).toMatch(/^\d/);
  expect(versions).toEqual(places.map(() => versions[0]));
});

it('are pages of the site, each once', () => {
  const { groups } = JSON.parse(readFileSync(join(root, 'site/pages.json'), 'utf8'));
  const pages = groups.flatMap(({ pages }: { pages: { file: string }[] }) => pages.map(({ file }) => file));
  expect(pages.slice().sort()).toEqual([...documents, 'texts/README.md'].sort());
});

describe.each(documents)('%s', (document) => {
  const lines = linesOf(document);

  it(`has tables of at most ${MOST_TABLE_COLUMNS} columns and text of at most ${MOST_TEXT_COLUMNS}`, () => {
    const most = (line: string) => (line.startsWith('|') ? MOST_TABLE_COLUMNS : MOST_TEXT_COLUMNS);
    expect(lines.filter((line) => line.length > most(line))).toEqual([]);
  });

  it('has no phrase that has to be read twice', () => {
    const paragraphs = lines.join('\n').split('\n\n');
    expect(paragraphs.map((text) => text.replace(/\s+/g, ' ')).filter((text) => BANNED.test(text))).toEqual([]);
  });

  it('links to files and headings that exist', () => {
    for (const [, link] of lines.join('\n').matchAll(/\]\(([^)\s]+)\)/g)) {
      if (link.startsWith('https:')) continue;
      const [path, anchor] = link.split('#');
      const target = path === '' ? document : join(dirname(document), path);
      expect(existsSync(join(root, target)), link).toBe(true);
      if (anchor !== undefined) expect(anchorsOf(target), link).toContain(anchor);
    }
  });
});
