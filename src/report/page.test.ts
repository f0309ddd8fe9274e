/** Pages as text: what they hold, and that nothing in a file becomes markup. What they look like is tested in a browser. */
import { describe, expect, it } from 'vitest';
import type { ReportData } from './data.ts';
import { reportPage } from './page.ts';
import { SECTIONS } from './sections/index.ts';
import { EVALUATION, folderData, manifest, SEARCH, STATISTICS, TOP_K, TWO_LAYERS } from './testing/data.ts';

const bare = { evaluation: null, bench: null, statistics: null, sample: null };
const sectionsIn = (html: string) => [...html.matchAll(/<section id="([\w-]+)"/g)].map(([, id]) => id);

describe('a page', () => {
  const statistics: ReportData = { kind: 'statistics', name: 'statistics.json', statistics: STATISTICS };
  const pages: Readonly<Record<string, ReportData>> = {
    'a sparse folder': folderData(),
    'a folder of a search': folderData({ manifest: manifest(null), search: SEARCH, statistics: null, sample: null }),
    'a folder that was never measured': folderData({ manifest: manifest(null), ...bare }),
    statistics,
    'statistics of two layers': { ...statistics, statistics: TWO_LAYERS },
  };

  it.each(Object.entries(pages))('of %s shows each of its sections or says why not, in their order', (_, data) => {
    const { html, notShown } = reportPage(data);
    const own = SECTIONS.filter((section) => section.show(data) !== undefined).map(({ id }) => id);
    expect(own.length).toBeGreaterThan(4);
    const shown = sectionsIn(html).filter((id) => id !== 'not-shown');
    const aside = notShown.map(({ section }) => section);
    expect(own.filter((id) => shown.includes(id))).toEqual(shown);
    expect([...shown, ...aside].sort()).toEqual([...own].sort());
    for (const { because } of notShown) expect(html).toContain(because);
  });

  it.each(Object.entries(pages))('of %s is the same when it is made again, and holds no script', (_, data) => {
    const { html } = reportPage(data);
    expect(reportPage(data).html).toBe(html);
    expect(html).not.toMatch(/<script|javascript:|\son\w+=|https?:\/\/(?!www\.w3\.org)|NaN|undefined|Infinity/);
    expect(html).toMatch(/default-src 'none'; style-src 'sha256-[\w+/=]{44}'/);
    // Nothing asks the policy for a style of its own.
    expect(html.replace(/<style>.*<\/style>/s, '')).not.toMatch(/ style="|<style/);
  });

  it('says of a folder that was never measured which commands measure it', () => {
    const { notShown } = reportPage(pages['a folder that was never measured']);
    const commands = notShown.flatMap(({ commands }) => commands).join('\n');
    expect(commands).toContain('lacuna eval DIR --against FP32-DIR --json > DIR/lacuna/evaluation.json');
    expect(commands).toContain('lacuna bench DIR');
    expect(commands).toContain('lacuna calibrate CHECKPOINT');
  });

  it('says where quality was evaluated, and where speed was timed', () => {
    const { html } = reportPage(folderData({ evaluation: { ...EVALUATION, engine: 'stock' } }));
    expect(html).toMatch(/Evaluated in<\/\w+>\s*<\w+>stock ONNX Runtime</);
    expect(html).toMatch(/Timed<\/\w+>\s*<\w+>[^<]* on 2 threads, in the native core</);
  });

  it('calls speeds of a search expected wherever it names them', () => {
    const { html } = reportPage(pages['a folder of a search']);
    const [, section] = /<section id="search"(.*?)<\/section>/s.exec(html) ?? [];
    const text = section?.replaceAll(/<[^>]+>/g, '\n') ?? '';
    expect(text).toContain('Perplexity ratio against expected speed');
    expect(text).toContain('and by expected tokens/s.');
    expect(text.match(/^.*tokens\/s$/gim)?.map((name) => name.trim())).toEqual(
      expect.arrayContaining(['expected tokens/s', 'Expected tokens/s']),
    );
    expect(text).not.toMatch(/(?<!expected )tokens\/s/i);
    expect(text).not.toMatch(/tokens a second|80 % of rounds/);
    expect(html).toContain('tokens/s, measured');
  });

  it('names no layers where none may be skipped', () => {
    const { html } = reportPage(pages['statistics of two layers']);
    expect(html).not.toMatch(/layers 1 to 0|may be skipped\.|A frame|most saturated</i);
    expect(html).toContain('No layer lies between the first and the last, which no plan skips, and past');
    expect(reportPage(statistics).html).toMatch(/Layers 1 to 2 may be skipped\..*A frame is around layers 1 to 2/s);
  });

  it('gives every name of a page once', () => {
    for (const data of Object.values(pages)) {
      const ids = [...reportPage(data).html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
      expect(ids.length).toBe(new Set(ids).size);
    }
  });
});

describe('what a file holds', () => {
  const evil = '</title></script><img src=x onerror=alert(1)>{a}\u202e';
  const blocks = TOP_K.blocks.map((block) => ({ ...block, why: evil }));
  const text = { name: evil, sha256: evil };
  const base = folderData();
  const hostile = folderData({
    name: evil,
    manifest: { ...manifest({ ...TOP_K, preset: evil, blocks }), lacuna: evil, fingerprint: evil },
    evaluation: base.evaluation && { ...base.evaluation, engine: evil, texts: [text], definitions: { [evil]: evil } },
    bench: base.bench && {
      ...base.bench,
      subjects: [{ ...base.bench.subjects[0], name: evil }, base.bench.subjects[1]],
    },
    search: {
      ...SEARCH,
      budget: evil,
      candidates: SEARCH.candidates.map((one) => ({ ...one, blocks: { [evil]: 1 } })),
    },
    statistics: { ...STATISTICS, texts: [{ ...text, tokens: 1 }], definitions: { [evil]: evil }, warnings: [evil] },
    sample: { text: evil, tokens: [{ text: evil, computed: 0.5, ran: 1 }] },
    beside: [{ ...base, name: evil }],
  });

  it('never becomes markup, in a folder or in statistics', () => {
    const { statistics } = hostile;
    if (statistics === null) throw new Error('wanted statistics');
    for (const data of [hostile, { kind: 'statistics' as const, name: evil, statistics }]) {
      const { html } = reportPage(data);
      expect(html).toContain('&lt;img src=x onerror=alert(1)&gt;');
      expect(html).not.toMatch(/<img|<\/script|\u202e/);
      expect(html.match(/<\/title>/g)?.length).toBe(html.match(/<title/g)?.length);
    }
  });
});
