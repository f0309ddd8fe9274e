/** `lacuna report`: pages of folders and statistics that the commands really make, and what it refuses. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { prettyJson } from '../src/core/json.ts';
import { inspect, report } from '../src/index.ts';
import { positionRanges } from '../src/pipeline/report/statistics.ts';
import { nativeLib } from './native-lib.ts';
import { expectFigures } from './report/views.ts';
import { lacuna, root, temporaryFolder, tinyLlama } from './temporary.ts';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const FEW = ['--tokens', '1100', '--threads', '1', '--quiet'];
const json = (...path: string[]) => JSON.parse(readFileSync(join(folder, ...path), 'utf8'));
const page = (name: string) => readFileSync(at(name), 'utf8');

async function run(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await lacuna(args);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  return stdout;
}

beforeAll(async () => {
  const anyway = ['--host', 'native', '--allow-slower'];
  await run('convert', tinyLlama, '-o', at('dense'), '--dtype', 'fp32,int8', '--quiet');
  await run('build', tinyLlama, '-o', at('sparse'), '--preset', 'top-k', '--dtype', 'int4', ...anyway, ...FEW);
}, 120_000);

describe('the page that build writes', () => {
  const html = () => page('sparse/lacuna/report.html');

  it('is named in the model card, and is what the command writes too', async () => {
    expect(readFileSync(at('sparse/README.md'), 'utf8')).toContain('`lacuna/report.html`');
    await run('report', at('sparse'), '-o', at('again.html'));
    expect(page('again.html')).toBe(html());
  });

  it('has the figures of evaluation.json and bench.json', () => {
    const evaluation = json('sparse/lacuna/evaluation.json');
    expect(evaluation.modes).toHaveLength(2);
    expect(evaluation.modes[0].rounded).not.toBeNull();
    expectFigures(html(), evaluation, json('sparse/lacuna/bench.json'));
    expect(html()).toContain(' times as fast as dense int4');
  });

  it('names what it was made of by its hashes', () => {
    const { fingerprint, plan, files } = json('sparse/lacuna.json');
    const { texts } = json('sparse/lacuna/evaluation.json');
    for (const hash of [fingerprint, plan.statistics, texts[0].sha256, files[0].crc32]) expect(html()).toContain(hash);
  });

  it('shows a text with what each token computed, and that is what the model computes in the mean', () => {
    const { text, tokens } = json('sparse/lacuna/sample.json');
    expect(text).toBe('test.txt');
    const written = readFileSync(join(root, 'texts/test.txt'), 'utf8');
    const shown: string = tokens.map((token: { text: string }) => token.text).join('');
    expect(shown.length).toBeGreaterThan(200);
    expect(written).toContain(shown.replace(/^<[^>]*>/, '').trim());
    const mean = tokens.reduce((sum: number, token: { computed: number }) => sum + token.computed, 0) / tokens.length;
    const [{ realised }] = json('sparse/lacuna/evaluation.json').modes;
    // Another text than what was evaluated, and a tenth of its tokens: shares of tokens scatter by some hundredths.
    expect(Math.abs(mean - realised.computedShare)).toBeLessThan(0.05);
    expect(new Set(tokens.map((token: { computed: number }) => token.computed)).size).toBeGreaterThan(20);
  });
});

describe('inspect of a folder', () => {
  it('says in a sentence what was measured, or that nothing was', async () => {
    const { verdict } = JSON.parse(await run('report', at('sparse'), '-o', at('sparse.html'), '--json'));
    await expect(inspect(at('sparse'))).resolves.toMatchObject({ kind: 'folder', verdict });
    expect((await run('inspect', at('sparse'))).replace(/\s+/g, ' ')).toContain(verdict);
    await expect(inspect(at('dense'))).resolves.toMatchObject({ kind: 'folder', verdict: null });
    expect((await run('inspect', at('dense'))).replace(/\s+/g, ' ')).toContain(
      'Neither quality nor speed was measured: lacuna eval DIR',
    );
  });

  it.each([
    // As a shell leaves it of a command that failed.
    ['evaluation.json', '', 'is no JSON: Unexpected end of JSON input', 'Measure again: lacuna eval DIR'],
    ['bench.json', '{"threads": 1}', 'is no benchmark of this version', 'Measure again: lacuna bench DIR --json'],
    ['auto.json', '[]', 'must hold a JSON object but holds []', 'Build the folder again'],
  ])('shows a folder whose %s cannot be read, and says so', async (file, content, what, again) => {
    const path = at(`unread-${file}`);
    cpSync(at('sparse'), path, { recursive: true });
    const place = join(path, 'lacuna', file);
    writeFileSync(place, content);
    const found = await inspect(path);
    if (found.kind !== 'folder') throw new Error('wanted a folder');
    expect(found.verdict?.startsWith(`Figures cannot be read: ${place} ${what}. ${again}`)).toBe(true);
    expect(found.verdict).not.toContain('\n');
    const text = (await run('inspect', path)).replace(/\s+/g, ' ');
    expect(text).toContain(again);
    expect(text).toContain('made by lacuna');
    const { code, stderr } = await lacuna(['report', path, '-o', at('x.html')]);
    expect(code).toBe(2);
    expect(stderr).toContain(again);
    expect(stderr).not.toContain('download');
  });
});

describe('a page of a folder', () => {
  it('that was never measured says what is missing, and how to measure it', async () => {
    const { notShown, kind, verdict, bytes } = JSON.parse(
      await run('report', at('dense'), '-o', at('dense.html'), '--json'),
    );
    expect(kind).toBe('folder');
    expect(verdict).toBe('This model, dense fp32, holds the checkpoint’s floats, and its speed has not been measured.');
    expect(bytes).toBe(Buffer.byteLength(page('dense.html')));
    const commands = notShown.flatMap(({ commands }: { commands: string[] }) => commands);
    expect(commands).toContain('lacuna bench DIR --json > DIR/lacuna/bench.json');
    for (const command of commands) expect(page('dense.html')).toContain(command.replaceAll('>', '&gt;'));
  });

  it('shows figures that its commands put there', async () => {
    cpSync(at('dense'), at('measured'), { recursive: true });
    mkdirSync(at('measured/lacuna'));
    const against = ['--dtype', 'int8', '--against-dtype', 'fp32', '--json'];
    const evaluation = await run('eval', at('measured'), ...against, ...FEW);
    writeFileSync(at('measured/lacuna/evaluation.json'), evaluation);
    const { verdict } = JSON.parse(await run('report', at('measured'), '-o', at('measured.html'), '--json'));
    const [{ perplexityRatio }] = JSON.parse(evaluation).modes;
    expect(verdict).toContain(
      `This model, dense int8, has a perplexity ratio of ${perplexityRatio.value.toFixed(4)} ±`,
    );
    expect(page('measured.html')).toContain('rounding to int8 changes it by');
    const short = '--repeats 1 --rounds 1 --steps 2 --prompt-tokens 8 --threads 1 --quiet --json'.split(' ');
    for (const engine of existsSync(join(nativeLib, 'lacuna_node.node')) ? ['stock', 'native'] : ['stock']) {
      const timing = await run('bench', at('measured'), '--dtype', 'int8', '--engine', engine, ...short);
      expect(JSON.parse(timing).subjects).toMatchObject([{ engine }]);
      writeFileSync(at('measured/lacuna/bench.json'), timing);
      const name = engine === 'native' ? 'the native core' : 'stock ONNX Runtime';
      await expect(inspect(at('measured'))).resolves.toMatchObject({ verdict: expect.stringMatching(`in ${name}.$`) });
    }
  });

  it('holds models beside it, of the same checkpoint alone', async () => {
    await report({ path: at('sparse'), output: at('beside.html'), beside: [at('measured'), at('dense')] });
    expect(page('beside.html')).toMatch(/<td>dense int8<\/td>.*<td>dense fp32<\/td>/s);
    cpSync(at('dense'), at('other'), { recursive: true });
    writeFileSync(at('other/lacuna.json'), prettyJson({ ...json('other/lacuna.json'), fingerprint: 'other' }));
    const refused = report({ path: at('sparse'), output: at('x.html'), beside: [at('other')] });
    await expect(refused).rejects.toMatchObject({
      code: 'mismatch',
      message: expect.stringContaining('another checkpoint'),
    });
  });

  it('runs a text where it is asked to', async () => {
    await run('sparsify', at('dense'), '--plan', plan(), '-o', at('bare'), '--quiet');
    await run('report', at('bare'), '-o', at('bare.html'));
    expect(page('bare.html')).not.toContain('<section id="sample"');
    const text = at('text.txt');
    writeFileSync(text, 'In the beginning there was a <b>text</b>.');
    await run('report', at('bare'), '-o', at('bare.html'), '--sample', '--data', text, '--force', '--quiet');
    expect(page('bare.html')).toMatch(/<section id="sample".*text\.txt.*&lt;<\/span>/s);
    await expect(report({ path: at('dense'), output: at('x.html'), sample: true })).rejects.toMatchObject({
      code: 'usage',
    });
  });

  /** The plan of the sparse model, for weights in any precision. */
  function plan(): string {
    const path = at('sparse/lacuna/plan.json');
    const given = json('sparse/lacuna/plan.json');
    const copy = at('plan.json');
    writeFileSync(copy, prettyJson({ ...given, host: { kind: 'native' } }));
    cpSync(path.replace('.json', '.safetensors'), copy.replace('.json', '.safetensors'));
    return copy;
  }
});

describe('a page of statistics', () => {
  const statistics = () => at('sparse/lacuna/statistics.json');

  it('has the figures that inspect gives, and a sentence on what follows for each', async () => {
    await run('report', statistics(), '-o', at('statistics.html'));
    const html = page('statistics.html');
    const found = await inspect(statistics());
    if (found.kind !== 'statistics') throw new Error('wanted statistics');
    for (const { meanCosine, oracleEnergyAtHalf, gateEnergyAtHalf, downInPeak } of found.summary.layers) {
      expect(html).toContain(`<td class="number">${meanCosine.toFixed(4)}</td>`);
      for (const share of [oracleEnergyAtHalf, gateEnergyAtHalf])
        expect(html).toContain(`${(100 * share).toFixed(2)} %`);
      expect(html).toContain(`<td class="number">${downInPeak.toFixed(1)}</td>`);
    }
    const ledes = [...html.matchAll(/<p class="lede">(.+?)<\/p>/gs)].map(([, text]) => text);
    expect(ledes.length).toBe([...html.matchAll(/<section /g)].length);
    expect(html).toContain(`Layers ${found.summary.saturated.start} to ${found.summary.saturated.end - 1} stand out`);
    for (const warning of found.summary.warnings) expect(html).toContain(warning);
  });

  it('has no options of folders', async () => {
    const given = { path: statistics(), output: at('x.html') };
    await expect(report({ ...given, sample: true })).rejects.toMatchObject({ code: 'usage' });
    await expect(report({ ...given, beside: [at('dense')] })).rejects.toMatchObject({ code: 'usage' });
    await expect(report({ ...given, data: [at('text.txt')] })).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('they have no --data'),
    });
  });

  it.each([1, 2, 5, 32, 512, 4096])('divides %d positions without a gap, ever wider', (length) => {
    const ranges = positionRanges(length);
    expect(ranges[0].from).toBe(0);
    expect(ranges.at(-1)?.to).toBe(length);
    for (const [index, { from, to }] of ranges.entries()) {
      expect(to).toBeGreaterThan(from);
      if (index > 0) expect(from).toBe(ranges[index - 1].to);
    }
    expect(ranges.length).toBeLessThan(45);
  });
});

describe('what it refuses', () => {
  const refused = (args: readonly string[]) => lacuna(['report', ...args]);
  const broken = (name: string, change: (path: string) => void) => {
    cpSync(at('sparse'), at(name), { recursive: true });
    change(at(name));
    return at(name);
  };
  const edited = (file: string, change: (value: Record<string, unknown>) => object) => (path: string) => {
    const place = join(path, file);
    writeFileSync(place, prettyJson(change(JSON.parse(readFileSync(place, 'utf8')))));
  };

  const deeper = ({ plan, ...rest }: Record<string, unknown>) => {
    const { blocks } = plan as { readonly blocks: readonly object[] };
    return { ...rest, plan: { ...(plan as object), blocks: [...blocks, { ...blocks[0], block: 'layers.99.ffn' }] } };
  };

  it.each<[string, () => string, RegExp]>([
    ['nothing', () => at('nowhere'), /Nothing at .*nowhere\n {2}Give a folder made by/],
    [
      'a checkpoint',
      () => tinyLlama,
      /No lacuna\.json in .*: not a folder that Lacuna wrote\n {2}Convert the checkpoint/,
    ],
    ['a plan', () => at('sparse/lacuna/plan.json'), /plan\.json is neither a model folder nor statistics\n {2}Give/],
    ['what is no JSON', () => join(tinyLlama, 'README.md'), /README\.md is no JSON/],
    [
      'a folder of another version',
      () =>
        broken(
          'newer',
          edited('lacuna.json', (manifest) => ({ ...manifest, version: 2 })),
        ),
      /lacuna\.json: version: .*\n {2}Make the folder again with this version of Lacuna/,
    ],
    [
      'figures of another version',
      () =>
        broken(
          'older',
          edited('lacuna/evaluation.json', ({ modes, ...rest }) => rest),
        ),
      /evaluation\.json is no evaluation of this version:\n.*modes/s,
    ],
    [
      'figures that are damaged',
      () => broken('cut', (path) => writeFileSync(join(path, 'lacuna/bench.json'), '{"subjects": [')),
      /bench\.json is no JSON/,
    ],
    [
      'a plan of layers that there are not',
      () => broken('long', edited('lacuna.json', deeper)),
      /lacuna\.json: block layers\.99\.ffn is past the model's 12 layers/,
    ],
    [
      'statistics of another model',
      () =>
        broken(
          'foreign',
          edited('lacuna.json', (manifest) => ({ ...manifest, fingerprint: 'other' })),
        ),
      /statistics\.json was measured on another model/,
    ],
    [
      'statistics whose sums are not theirs',
      () =>
        broken(
          'mixed',
          edited('lacuna/statistics.json', (one) => ({
            ...one,
            tensors: { file: 'statistics.safetensors', sha256: '0'.repeat(64) },
          })),
        ),
      /has the sha256 .* wants 0000/,
    ],
  ])('%s is named', async (_, path, message) => {
    const { code, stderr } = await refused([path(), '-o', at('x.html')]);
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
    expect(existsSync(at('x.html'))).toBe(false);
  });

  it('a text that nothing would run is refused, before the page is written', async () => {
    const { code, stderr } = await refused([at('bare'), '-o', at('x.html'), '--data', at('text.txt')]);
    expect(stderr).toMatch(/--data names the text of a sample, but no sample is asked for\n {2}Add --sample/);
    expect(code).toBe(2);
    expect(existsSync(at('x.html'))).toBe(false);
  });

  it('writes over nothing without --force, and never over what is no page', async () => {
    writeFileSync(at('mine.html'), 'mine');
    expect(await refused([at('dense'), '-o', at('mine.html')])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/mine\.html already exists\n.*--force/),
    });
    expect(page('mine.html')).toBe('mine');
    await run('report', at('dense'), '-o', at('mine.html'), '--force');
    expect(page('mine.html')).toMatch(/^<!doctype html>/);
    const weights = at('sparse/lacuna/statistics.json');
    const before = readFileSync(weights, 'utf8');
    expect(await refused([weights, '-o', weights, '--force'])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/no name of a page\n.*statistics\.html/),
    });
    expect(readFileSync(weights, 'utf8')).toBe(before);
    mkdirSync(at('folder.html'));
    expect((await refused([at('dense'), '-o', at('folder.html'), '--force'])).stderr).toMatch(/is a folder/);
    expect(readdirSync(folder).filter((name) => name.includes('.partial-'))).toEqual([]);
  });
});

it('no other command loads what draws charts', () => {
  const dist = join(root, 'dist');
  const found = (file: string) => readFileSync(file, 'utf8');
  const importsOf = (file: string) =>
    [...found(file).matchAll(/^(?:import|\} from|export .* from) ?.*"(\.[^"]+)";$/gm)].map(([, path]) =>
      join(dirname(file), path),
    );
  const seen = new Set<string>();
  const walk = (file: string) => {
    if (seen.has(file)) return;
    seen.add(file);
    importsOf(file).forEach(walk);
  };
  walk(join(dist, 'src/cli/index.js'));
  walk(join(dist, 'src/index.js'));
  const holds = (file: string) => found(file).includes('node_modules/zrender/');
  expect(seen.size).toBeGreaterThan(4);
  expect([...seen].filter(holds)).toEqual([]);
  // It is in the package all the same.
  const files = readdirSync(dist, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.js'));
  expect(files.filter((name) => holds(join(dist, name))).length).toBeGreaterThan(0);
});
