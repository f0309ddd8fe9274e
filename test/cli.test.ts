/** The command line as a user meets it: exit codes, messages, JSON, and nothing left behind. */
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { LACUNA_VERSION } from '../src/core/manifest.ts';
import { ENGINES, PRESET_WORDS } from '../src/index.ts';
import { nativeLib } from './native-lib.ts';
import { commandsIn, lacuna, root, temporaryFolder, tinyLlama } from './temporary.ts';

const PRESETS = PRESET_WORDS.map(({ name }) => name);

const folder = temporaryFolder();
const dense = join(folder, 'dense');
const statistics = join(folder, 'statistics.json');
const plan = join(folder, 'plan.json');
const sparse = join(folder, 'sparse');
const few = ['--tokens', '1100', '--threads', '2', '--quiet'];

beforeAll(async () => {
  for (const args of [
    ['convert', tinyLlama, '-o', dense, '--quiet'],
    ['calibrate', tinyLlama, '-o', statistics, ...few],
    ['plan', statistics, '-o', plan, '--preset', 'top-k', '--keep', '30%'],
    ['sparsify', dense, '--plan', plan, '-o', sparse, '--quiet'],
  ]) {
    const { code, stderr } = await lacuna(args);
    expect(stderr).toBe('');
    expect(code).toBe(0);
  }
}, 120_000);

/** A copy of the small checkpoint, changed. */
function variant(name: string, change: (path: string) => void): string {
  const path = join(folder, name);
  cpSync(tinyLlama, path, { recursive: true, filter: (source) => !source.includes('.cache') });
  change(path);
  return path;
}

function editJson(path: string, changes: Record<string, unknown>): void {
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...changes }));
}

describe('sparsify --dtype', () => {
  it.each([
    ['fp16', []],
    ['bf16', []],
    ['int8', ['--tokens', '1100']],
    ['int4', ['--tokens', '1100']],
  ] as const)('stores the weights of a checkpoint as %s', async (dtype, few) => {
    const output = join(folder, `sparse-${dtype}`);
    const args = ['sparsify', tinyLlama, '--plan', plan, '-o', output, '--dtype', dtype];
    const made = await lacuna([...args, ...few, '--json']);
    expect(made.code).toBe(0);
    const { report } = JSON.parse(made.stdout) as { report: { applied: boolean }[] };
    expect(report.every(({ applied }) => applied)).toBe(true);
    const { models } = JSON.parse(readFileSync(join(output, 'lacuna.json'), 'utf8')) as { models: object[] };
    expect(models).toEqual([expect.objectContaining({ precision: dtype })]);
    // Both engines: the stock one always, ours where it is built.
    const run = await lacuna(['run', output, 'Once', '--max-tokens', '4', '--engine', 'stock', '--quiet']);
    expect(run.code).toBe(0);
  });
});

describe('bench', () => {
  const short = ['--prompt-tokens', '8', '--repeats', '2', '--rounds', '1', '--steps', '1', '--threads', '1'];

  it('times a folder against another, and says how often both were opened', async () => {
    const args = ['bench', sparse, '--against', dense, '--engine', 'stock', ...short];
    const { code, stdout } = await lacuna([...args, '--quiet']);
    expect(code).toBe(0);
    const lines = stdout.split('\n');
    expect(lines.slice(2, 4).map((line) => line.split(' ')[0])).toEqual([dense, sparse]);
    const ratio = String.raw`speed-up \d+\.\d{3}x \(p10-p90 \d+\.\d{3}-\d+\.\d{3}\)`;
    // The table is folded where the folders' names leave no room for it.
    const said = stdout.split('\n\n').at(-1)?.split('\n') ?? [];
    expect(said.slice(0, 4)).toEqual([
      expect.stringMatching(String.raw`^decode ${ratio}, expected \d\.\d{3}x$`),
      expect.stringMatching(`^prefill ${ratio}$`),
      'repeats, each in sessions opened anew: 2; rounds in each: 1, of 4 x 1 tokens',
      'prompt of 8 tokens, threads: 1',
    ]);
    const { repeats, rounds, subjects } = JSON.parse((await lacuna([...args, '--json'])).stdout);
    expect([repeats, rounds, subjects.length]).toEqual([2, 1, 2]);
  });

  it('opens a model by stock ONNX Runtime each time, and says so once, when the native core fails', async () => {
    const native = join(folder, 'broken-core');
    mkdirSync(native);
    writeFileSync(join(native, 'lacuna_node.node'), 'no library');
    const { code, stdout, stderr } = await lacuna(['bench', dense, ...short], undefined, undefined, native);
    expect(code).toBe(0);
    expect(stderr.match(/Stock ONNX Runtime is used/g)).toHaveLength(1);
    expect(stdout.split('\n')[2]).not.toContain(' native ');
  });
});

describe('the version', () => {
  it("is the package's", async () => {
    expect(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version).toBe(LACUNA_VERSION);
    expect((await lacuna(['--version'])).stdout.trim()).toBe(LACUNA_VERSION);
  });
});

describe('usage', () => {
  it('lists the commands in the order of the pipeline', async () => {
    const { code, stdout } = await lacuna(['--help']);
    expect(code).toBe(0);
    const commands = commandsIn(stdout);
    expect(new Set(commands).size).toBe(commands.length);
    const ordered = [
      'convert',
      'verify',
      'calibrate',
      'plan',
      'sparsify',
      'eval',
      'bench',
      'run',
      'inspect',
      'build',
      'ops',
      'doctor',
      'help',
    ];
    expect(commands.filter((name) => ordered.includes(name))).toEqual(ordered);
  });

  it.each([
    [['frobnicate'], /unknown command/],
    [['convert', tinyLlama], /required option '-o, --output/],
    [['convrt', tinyLlama], /Did you mean convert\?/],
    [
      ['sparsify', tinyLlama, '--plan', 'x', '-o', 'y', '--dtype', 'q4'],
      /Expected fp32, fp16, bf16, int8, int6, int5, int4 for dtype but received "q4"/,
    ],
    [
      ['build', tinyLlama, '-o', 'y', '--preset', 'top-k', '--dtype', 'q4'],
      /fp32, fp16, bf16, int8, int6, int5, int4 for dtype but received "q4"/,
    ],
    [['plan', 'x', '-o', 'y', '--preset', 'magic'], new RegExp(`Allowed choices are ${PRESETS.join(', ')}`)],
    [['plan', 'x', '-o', 'y', '--preset', 'top-k', '--keep', '130%'], /a share between 0 and 1/],
    [['plan', 'x', '-o', 'y', '--preset', 'top-k', '--host', 'moon'], /Allowed choices are native, stock/],
    [['plan', 'x', '-o', 'y', '--preset', 'top-k', '--dtype', 'q4'], /int4 for the dtype of a plan .* "q4"/],
    [
      ['plan', 'x', '-o', 'y', '--preset', 'top-k', '--host', 'stock', '--dtype', 'q4'],
      /int4 for the dtype of a plan .* "q4"/,
    ],
    [['bench', 'x', '--gguf', 'y'], /--peers is not given/],
    [['bench', 'x', '--until-sure', '5'], /which of two models is faster, and there is one/],
    [['bench', 'x', '--until-sure', '0'], /a number above 0/],
    [['eval', 'x', '--tokens', 'many'], /whole number of at least 1/],
    [['run', 'x', 'a', '--attended', '63'], /whole number of at least 64/],
    [['bench', 'x', '--against-attended', '64.5'], /whole number of at least 64/],
    [['calibrate', tinyLlama, '-o', 's.json', '--shard', '4/4'], /0 <= i < n/],
    [
      ['convert', tinyLlama, '-o', 'x', '--dtype', 'q4'],
      /Expected fp32, fp16, bf16, int8, int6, int5, int4 for --dtype .* "q4"/,
    ],
    [['convert', tinyLlama, '-o', 'x', '--dtype', 'fp32, int3'], /int4 for --dtype but received "int3"/],
    [['convert', tinyLlama, '-o', 'x', '--dtype', 'int4,fp32'], /fp32 comes first[\s\S]*--dtype fp32,int4/],
    [['convert', tinyLlama, '-o', 'x', '--dtype', 'fp32,fp16', '--importance', 'x'], /fp32, fp16 searches no scales/],
    [['convert', tinyLlama, '-o', 'x', '--dtype', 'int4', '--vocabulary', 'int2'], /fp32, bf16, int8, int4 .* "int2"/],
    [['convert', tinyLlama, '-o', 'x', '--dtype', 'bf16', '--vocabulary', 'int8'], /bf16 stores no blocks/],
    [['convert', tinyLlama, '-o', 'x', '--dtype', 'int4', '--block-size', '20'], /16, 32, 64, 128 .* 20/],
    [['convert', tinyLlama, '-o', 'x', '--dtype', 'fp16', '--importance', 'x'], /fp16 searches no scales/],
    [['convert', tinyLlama, '-o', 'x', '--data', 'x'], /fp32 searches no scales/],
    [['convert', tinyLlama, '-o', 'x', '--dtype', 'int4', '--data', 'x', '--importance', 'y'], /not both/],
    [['convert', tinyLlama, '-o', 'x', '--dtype', 'int4', '--data', 'x', '--rounding', 'best'], /gptq, search/],
    [['convert', tinyLlama, '-o', 'x', '--dtype', 'int4', '--rounding', 'gptq'], /rounds by a text.*--data FILE/s],
    [['convert', tinyLlama, '-o', 'x', '--dtype', 'int4', '--rounding', 'search'], /rounds by a text.*--data FILE/s],
    [['convert', tinyLlama, '-o', 'x', '--dtype', 'int4', '--tokens', '9'], /No text is given to measure 9 tokens of/],
    [['convert', tinyLlama, '-o', 'x', '--dtype', 'int4', '--allow-nonfinite'], /no codes for NaN/],
    [['convert', tinyLlama, '-o', 'x', '--asymmetric'], /fp32 stores no blocks/],
  ])('refuses %j with 2', async (args, message) => {
    const { code, stdout, stderr } = await lacuna(args);
    expect(stderr).toMatch(message);
    expect(stdout).toBe('');
    expect(code).toBe(2);
  });
});

describe('bad input', () => {
  const out = join(folder, 'never');
  const latin1 = join(folder, 'latin1.txt');
  const empty = join(folder, 'empty.txt');
  const short = join(folder, 'short.txt');

  beforeAll(() => {
    writeFileSync(latin1, Buffer.from([0x63, 0x61, 0x66, 0xe9]));
    writeFileSync(empty, ' \n');
    writeFileSync(short, 'Fewer words than a window has tokens.');
  });

  const cases: readonly [string, () => string[], RegExp][] = [
    ['a folder that is not there', () => ['convert', join(folder, 'nowhere'), '-o', out], /nowhere/],
    ['an output that exists', () => ['convert', tinyLlama, '-o', dense], /dense already exists\n {2}.*--force/],
    [
      'importances that are no statistics',
      () => ['convert', tinyLlama, '-o', out, '--dtype', 'int4', '--importance', join(tinyLlama, 'config.json')],
      /config\.json is no statistics file/,
    ],
    [
      'importances of another checkpoint',
      () => [
        'convert',
        variant('other', (path) => editJson(join(path, 'config.json'), { rope_theta: 20000 })),
        ...['-o', out, '--dtype', 'int4', '--importance', statistics],
      ],
      /statistics\.json was measured on another checkpoint/,
    ],
    [
      'an unknown model type',
      () => [
        'convert',
        variant('gemma', (path) => editJson(join(path, 'config.json'), { model_type: 'llamma' })),
        '-o',
        out,
      ],
      /"llamma".*nearest that is: "llama"/,
    ],
    [
      'a config that contradicts the tensors',
      () => [
        'convert',
        variant('wide', (path) => editJson(join(path, 'config.json'), { hidden_size: 256 })),
        '-o',
        out,
      ],
      /\[2048,128\], the config says \[2048,256\]/,
    ],
    [
      'a pickle',
      () => [
        'convert',
        variant('pickle', (path) => {
          rmSync(join(path, 'model.safetensors'));
          writeFileSync(join(path, 'pytorch_model.bin'), 'x');
        }),
        '-o',
        out,
      ],
      /pickle/i,
    ],
    [
      'a truncated file',
      () => [
        'convert',
        variant('short', (path) =>
          writeFileSync(
            join(path, 'model.safetensors'),
            readFileSync(join(tinyLlama, 'model.safetensors')).subarray(0, 100_000),
          ),
        ),
        '-o',
        out,
      ],
      /model\.safetensors/,
    ],
    ['an empty text', () => ['calibrate', tinyLlama, '--data', empty, '-o', out], /empty\.txt is empty/],
    [
      'a text that is not UTF-8',
      () => ['calibrate', tinyLlama, '--data', latin1, '-o', out],
      /latin1\.txt is not UTF-8\n {2}.*iconv/,
    ],
    ['a missing text', () => ['calibrate', tinyLlama, '--data', join(folder, 'no.txt'), '-o', out], /no\.txt/],
    [
      'a plan of another model',
      () => [
        'sparsify',
        variant('other', (path) => editJson(join(path, 'config.json'), { rope_theta: 5 })),
        '--plan',
        plan,
        '-o',
        out,
      ],
      /another model/,
    ],
    [
      'a folder to sparsify in another precision',
      () => ['sparsify', dense, '--plan', plan, '-o', out, '--dtype', 'int4'],
      /is a converted folder; int4 is made of a checkpoint\n {2}.*--dtype int4/,
    ],
    ['a sparse folder to sparsify', () => ['sparsify', sparse, '--plan', plan, '-o', out], /sparse already/],
    ['a baseline that is missing', () => ['eval', sparse, '--max-ppl-ratio', '1.1'], /--against/],
    ['a checkpoint where a folder is wanted', () => ['run', tinyLlama, 'x'], /lacuna convert/],
    ['a converted folder where a checkpoint is wanted', () => ['calibrate', dense, '-o', out], /is a converted folder/],
    ['a folder that is not there where one is wanted', () => ['run', out, 'x'], /There is no folder/],
    ['a window past the context', () => ['eval', dense, '--window', '5000'], /at most 1024, the model's context/],
    [
      'a benchmark past the context',
      () => ['bench', dense, '--prompt-tokens', '1020', '--rounds', '1'],
      /the model's context is 1024/,
    ],
    ['a Python that is none', () => ['bench', dense, '--peers', '--python', '/bin/true'], /\/bin\/true does not run/],
    [
      'a plan where statistics are wanted',
      () => ['plan', plan, '-o', out, '--preset', 'top-k'],
      /is no statistics file/,
    ],
    [
      'a plan for stock ONNX Runtime, where blocks as small as these gain nothing',
      () => ['plan', statistics, '-o', out, '--preset', 'top-k', '--keep', '0.1', '--host', 'stock'],
      /blocks of \d+x\d+ in fp32 .* of their dense time .*\n {2}No --keep .*--host native/,
    ],
    [
      'a plan for stock ONNX Runtime and weights that are stored otherwise',
      () => {
        const path = join(folder, 'stock.json');
        copyFileSync(plan, path);
        editJson(path, { host: { kind: 'stock', dtype: 'int4' } });
        return ['sparsify', tinyLlama, '--plan', path, '-o', out];
      },
      /weights in int4, the model's are in fp32\n {2}Use --dtype int4/,
    ],
    [
      'tensors that are not ours',
      () => [
        'calibrate',
        tinyLlama,
        '-o',
        join(
          variant('own', () => {}),
          'model.json',
        ),
      ],
      /model\.safetensors already exists/,
    ],
    [
      'a build over a folder that is not ours',
      () => {
        const foreign = variant('foreign', () => {});
        const anyway = ['--host', 'native', '--allow-slower'];
        return ['build', tinyLlama, '-o', foreign, '--force', '--preset', 'top-k', ...anyway];
      },
      /is not replaced: it holds no lacuna\.json/,
    ],
    [
      'a build on a text that is too short',
      () => ['build', tinyLlama, '-o', out, '--preset', 'top-k', '--test', short],
      /short\.txt: Expected a text of at least/,
    ],
    [
      'a build without a tokenizer',
      () => {
        const bare = variant('mute', (path) => rmSync(join(path, 'tokenizer.json')));
        return ['build', bare, '-o', out, '--preset', 'top-k'];
      },
      /No tokenizer\.json/,
    ],
    ['nothing to inspect', () => ['inspect', out], /Nothing at/],
  ];

  it.each(cases)('%s: one error, exit code 2, nothing left', async (_, args, message) => {
    const command = args();
    const before = readdirSync(folder).sort();
    const { code, stdout, stderr } = await lacuna([...command, '--quiet']);
    expect(stderr).toMatch(/^error: /);
    expect(stderr).toMatch(message);
    expect(stdout).toBe('');
    expect(code).toBe(2);
    expect(readdirSync(folder).sort()).toEqual(before);
  });

  it('tells a program the same as JSON', async () => {
    const { code, stdout } = await lacuna(['convert', join(folder, 'nowhere'), '-o', out, '--json']);
    expect(code).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'not-found' } });
  });

  it('names a weight that is not finite, and takes it when told to', async () => {
    const broken = variant('nan', (path) => {
      const file = join(path, 'model.safetensors');
      const bytes = readFileSync(file);
      // The last two bytes are the last bf16 weight; 0x7fc0 is NaN.
      bytes.writeUInt16LE(0x7fc0, bytes.length - 2);
      writeFileSync(file, bytes);
    });
    const refused = await lacuna(['convert', broken, '-o', out, '--quiet']);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/NaN.*\n {2}.*--allow-nonfinite/s);
    expect(existsSync(out)).toBe(false);
    expect((await lacuna(['convert', broken, '-o', out, '--quiet', '--allow-nonfinite'])).code).toBe(0);
    rmSync(out, { recursive: true });
  });

  it('converts without a tokenizer and says that it cannot be run', async () => {
    const bare = variant('bare', (path) => rmSync(join(path, 'tokenizer.json')));
    const converted = await lacuna(['convert', bare, '-o', out]);
    expect(converted.code).toBe(0);
    expect(converted.stderr).toMatch(/No tokenizer\.json/);
    const ran = await lacuna(['run', out, 'x', '--quiet']);
    expect(ran.code).toBe(2);
    expect(ran.stderr).toMatch(/tokenizer\.json/);
    rmSync(out, { recursive: true });
  });

  it('stops at a signal with 130 and leaves nothing', async () => {
    const before = readdirSync(folder).sort();
    const { code } = await lacuna(['calibrate', tinyLlama, '-o', out, '--quiet'], AbortSignal.abort());
    expect(code).toBe(130);
    expect(readdirSync(folder).sort()).toEqual(before);
  });
});

describe('results', () => {
  it('are one JSON object on stdout', async () => {
    const { code, stdout } = await lacuna(['eval', sparse, '--against', dense, '--json', ...few]);
    expect(code).toBe(0);
    const { modes, target } = JSON.parse(stdout);
    expect(target).toEqual({ kind: 'density', value: 0.3 });
    expect(modes.map(({ mode }: { mode: string }) => mode)).toEqual(['all', 'decode']);
  });

  it('fail the check with 1 when over budget', async () => {
    const args = ['eval', sparse, '--against', dense, '--mode', 'decode', ...few];
    expect((await lacuna([...args, '--max-ppl-ratio', '1000'])).code).toBe(0);
    const { code, stdout } = await lacuna([...args, '--max-ppl-ratio', '1.0000001']);
    expect(stdout).toMatch(/FAILED/);
    expect(code).toBe(1);
  });

  const IN_BLOCKS = { blocks: { blockSize: 32, symmetric: true }, operatorSet: 2 };
  it.each([
    ['int4', [], '>=1.23', { vocabulary: 'int8', ...IN_BLOCKS }],
    ['int4', ['--vocabulary', 'fp32'], '>=1.21', { vocabulary: 'fp32', ...IN_BLOCKS }],
    ['int4', ['--vocabulary', 'int4'], '>=1.23', { vocabulary: 'int4', ...IN_BLOCKS }],
    ['int8', [], '>=1.23', { vocabulary: 'int8', ...IN_BLOCKS }],
    ['int8', ['--vocabulary', 'bf16'], '>=1.22', { vocabulary: 'bf16', ...IN_BLOCKS }],
    ['bf16', [], '>=1.21', { vocabulary: 'bf16' }],
    ['fp16', [], '>=1.21', { vocabulary: 'fp16' }],
  ])('of %s %j say what they are, run, and are not made sparse', async (dtype, options, onnxruntime, stored) => {
    const path = join(folder, [dtype, ...options].join(''));
    const converted = await lacuna(['convert', tinyLlama, '-o', path, '--dtype', dtype, ...options, '--json']);
    expect(converted.code).toBe(0);
    const { weightBytes, files } = JSON.parse(converted.stdout);
    const data = files.find((file: { path: string }) => file.path === 'onnx/model.onnx_data');
    // Slots start at pages, and norms are inside the model: the two differ by less than a page a tensor.
    expect(Math.abs(data.bytes - weightBytes)).toBeLessThan(4096 * 200);
    const manifest = JSON.parse(readFileSync(join(path, 'lacuna.json'), 'utf8'));
    expect(manifest.models).toEqual([{ file: 'onnx/model.onnx', precision: dtype, onnxruntime, ...stored }]);
    expect(readFileSync(join(path, 'README.md'), 'utf8')).toContain(`ONNX Runtime ${onnxruntime.slice(2)} or newer`);
    expect((await lacuna(['run', path, 'In the beginning', '--max-tokens', '4'])).code).toBe(0);
    const refused = await lacuna(['sparsify', path, '--plan', plan, '-o', join(folder, 'never')]);
    expect(refused.stderr).toMatch(new RegExp(`is ${dtype}: only fp32 models are made sparse`));
    expect(refused.code).toBe(2);
  });

  it('of several precisions lie in one folder, and each is chosen by its name', async () => {
    const path = join(folder, 'several');
    const names = ['fp32', 'fp16', 'int4'];
    const converted = await lacuna(['convert', tinyLlama, '-o', path, '--dtype', names.join(','), '--json']);
    expect(converted.code).toBe(0);
    const { models } = JSON.parse(converted.stdout);
    const files = ['onnx/model.onnx', 'onnx/model_fp16.onnx', 'onnx/model_q4.onnx'];
    expect(models.map(({ precision, file }: { precision: string; file: string }) => [precision, file])).toEqual(
      names.map((name, index) => [name, files[index]]),
    );
    const written = readdirSync(join(path, 'onnx')).map((name) => `onnx/${name}`);
    expect(written.sort()).toEqual(files.flatMap((file) => [file, `${file}_data`]).sort());
    const json = (name: string) => JSON.parse(readFileSync(join(path, name), 'utf8'));
    expect(json('genai_config.json').model.decoder.filename).toBe('onnx/model.onnx');
    expect(json('config.json')['transformers.js_config']).toMatchObject({ kv_cache_dtype: { fp16: 'float16' } });

    // What lies beside the others is what is made alone.
    const alone = join(folder, 'alone');
    expect((await lacuna(['convert', tinyLlama, '-o', alone, '--dtype', 'int4', '--quiet'])).code).toBe(0);
    const weights = [join(path, 'onnx/model_q4.onnx_data'), join(alone, 'onnx/model.onnx_data')];
    expect(readFileSync(weights[0]).equals(readFileSync(weights[1]))).toBe(true);

    const evaluated = await lacuna([
      'eval',
      path,
      '--dtype',
      'int4',
      '--against-dtype',
      'fp32',
      '--mode',
      'all',
      '--json',
      ...few,
    ]);
    const { precision, againstPrecision, modes } = JSON.parse(evaluated.stdout);
    expect([precision, againstPrecision]).toEqual(['int4', 'fp32']);
    expect(modes[0].baseline.perplexity).not.toBe(modes[0].model.perplexity);
    const first = JSON.parse((await lacuna(['eval', path, '--json', ...few])).stdout);
    expect(first.precision).toBe('fp32');
    // Summed in another order.
    expect(first.perplexity.perplexity).toBeCloseTo(modes[0].baseline.perplexity, 9);

    const inspected = await lacuna(['inspect', path, '--dtype', 'fp16', '--json']);
    expect(JSON.parse(inspected.stdout)).toMatchObject({
      model: { file: 'onnx/model_fp16.onnx' },
      graph: { operators: { MatMul: expect.any(Number) } },
    });
    const short = ['--prompt-tokens', '8', '--rounds', '1', '--steps', '1', '--threads', '2', '--json'];
    const timed = await lacuna([
      'bench',
      path,
      '--engine',
      'stock',
      '--dtype',
      'int4',
      '--against-dtype',
      'fp16',
      ...short,
    ]);
    expect(JSON.parse(timed.stdout).subjects.map(({ name }: { name: string }) => name)).toEqual([
      `${path} fp16`,
      `${path} int4`,
    ]);
    const run = ['run', path, 'In the beginning', '--max-tokens', '4', '--quiet'];
    expect((await lacuna([...run, '--dtype', 'fp16'])).code).toBe(0);
    // Several prompts are continued together, each as it is alone.
    const prompts = ['In the beginning', 'If the transaction fails, the'];
    for (const engine of existsSync(join(nativeLib, 'lacuna_node.node')) ? ENGINES : ['stock']) {
      const options = ['--max-tokens', '6', '--engine', engine, '--json'];
      const rows = JSON.parse((await lacuna(['run', path, ...prompts, ...options])).stdout);
      expect(rows.engine).toBe(engine);
      for (const [row, prompt] of prompts.entries()) {
        const { text, tokens, stopped } = JSON.parse((await lacuna(['run', path, prompt, ...options])).stdout);
        expect(rows.rows[row]).toMatchObject({ text, tokens, stopped });
      }
    }
    const both = await lacuna(['run', path, ...prompts, '--max-tokens', '6']);
    expect(both.stdout).toMatch(/^In the beginning …\n.+\n\nIf the transaction fails, the …\n.+\n$/s);
    expect(both.stderr).toMatch(/tokens\/s in .* s, prompts included; tokens: 6 stopped at --max-tokens; 6 stopped/);
    const absent = await lacuna([...run, '--dtype', 'int8']);
    expect(absent.stderr).toMatch(/several holds no int8 model, but fp32, fp16, int4/);
    expect(absent.code).toBe(2);
    // Its fp32 model is as good to start from as any.
    expect((await lacuna(['sparsify', path, '--plan', plan, '-o', join(folder, 'from'), '--quiet'])).code).toBe(0);
  }, 120_000);

  it('of fp16 are refused where a weight is too large for it, with all that was written beside; bf16 holds it', async () => {
    const large = variant('large', (path) => {
      const file = join(path, 'model.safetensors');
      const bytes = readFileSync(file);
      // The last two bytes are the last bf16 weight; 0x47c3 is 99,840.
      bytes.writeUInt16LE(0x47c3, bytes.length - 2);
      writeFileSync(file, bytes);
    });
    const before = readdirSync(folder).sort();
    const convert = ['convert', large, '-o', join(folder, 'of-large'), '--quiet', '--dtype'];
    const refused = await lacuna([...convert, 'fp32,fp16']);
    expect(refused.stderr).toMatch(/beyond 65504[\s\S]*--dtype fp32, bf16/);
    expect(refused.code).toBe(2);
    expect(readdirSync(folder).sort()).toEqual(before);
    expect((await lacuna([...convert, 'fp32,bf16'])).code).toBe(0);
  });

  it('of bf16 say who widens them, and what was rounded', async () => {
    const convert = (checkpoint: string, name: string) =>
      lacuna(['convert', checkpoint, '-o', join(folder, name), '--dtype', 'bf16']);
    const kept = await convert(tinyLlama, 'kept');
    expect(kept.stderr).toMatch(/bf16 halves the file, not the memory/);
    expect(kept.stderr).not.toMatch(/rounds/);
    const rounded = await convert(join(root, 'fixtures/llama-variants/mha-untied-fp32'), 'rounded');
    expect(rounded.stderr).toMatch(/come as float32: bf16 rounds them to 8 significant bits/);
  });

  it('of int4 are the same, whether errors are weighed by statistics or by the text that they are of', async () => {
    const make = async (name: string, ...args: readonly string[]) => {
      const path = join(folder, name);
      expect((await lacuna(['convert', tinyLlama, '-o', path, '--dtype', 'int4', ...args])).code).toBe(0);
      return {
        weights: readFileSync(join(path, 'onnx/model.onnx_data')),
        model: JSON.parse(readFileSync(join(path, 'lacuna.json'), 'utf8')).models[0],
      };
    };
    const fit = join(root, 'texts/fit.txt');
    const read = await make('weighed', '--importance', statistics, '--quiet');
    const measured = await make('measured', '--data', fit, '--rounding', 'search', ...few);
    const plain = await make('plain');
    expect(measured.weights.equals(read.weights)).toBe(true);
    expect(plain.weights.equals(read.weights)).toBe(false);
    const { texts } = JSON.parse(readFileSync(statistics, 'utf8'));
    expect(read.model.calibratedOn).toEqual(texts);
    expect(measured.model.calibratedOn).toEqual(texts);
    expect(measured.model.rounding).toBe('search');
    expect(plain.model).not.toHaveProperty('calibratedOn');
  });

  it('stream text', async () => {
    const { code, stdout, stderr } = await lacuna(['run', sparse, 'In the beginning', '--max-tokens', '8']);
    expect(code).toBe(0);
    expect(stdout.length).toBeGreaterThan(5);
    expect(stderr).toMatch(/8 tokens, .* tokens\/s/);
  });

  it('show what each stage left', async () => {
    for (const path of [tinyLlama, dense, sparse, join(sparse, 'onnx/model.onnx'), statistics, plan]) {
      const { code, stdout, stderr } = await lacuna(['inspect', path]);
      expect(stderr).toBe('');
      expect(code).toBe(0);
      expect(stdout.split('\n').length).toBeGreaterThan(4);
      const found = JSON.parse((await lacuna(['inspect', path, '--json'])).stdout);
      expect(found).toMatchObject({ kind: expect.any(String), problems: [] });
    }
  });

  it('of shards merge to those of one run', async () => {
    const parts = ['0/2', '1/2'].map((shard) => [shard, join(folder, `part-${shard[0]}.json`)] as const);
    for (const [shard, path] of parts) {
      expect((await lacuna(['calibrate', tinyLlama, '-o', path, '--shard', shard, ...few])).code).toBe(0);
    }
    const merged = join(folder, 'merged', 'statistics.json');
    mkdirSync(join(folder, 'merged'));
    expect((await lacuna(['calibrate', 'merge', ...parts.map(([, path]) => path).reverse(), '-o', merged])).code).toBe(
      0,
    );
    expect(readFileSync(merged, 'utf8')).toBe(readFileSync(statistics, 'utf8'));
    const tensors = (path: string) => readFileSync(path.replace('.json', '.safetensors'));
    expect(tensors(merged).equals(tensors(statistics))).toBe(true);
  });
});
