/** Folders held against what Transformers computed from the small checkpoint (its lacuna-expectations.safetensors). */
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { lacuna, root, temporaryFolder, tinyLlama } from './temporary.ts';

const folder = temporaryFolder();
const dense = join(folder, 'dense');
const EXPECTATIONS = 'lacuna-expectations.safetensors';
const stored = join(tinyLlama, EXPECTATIONS);

/** No Python there: what is stored beside the checkpoint serves. */
const against = ['--expectations', stored, '--threads', '2', '--quiet'];

const manifestOf = (path: string) => JSON.parse(readFileSync(join(path, 'lacuna.json'), 'utf8'));

/** The small checkpoint without its expectations, changed. */
function variant(name: string, change: (path: string) => void = () => {}): string {
  const path = join(folder, name);
  cpSync(tinyLlama, path, { recursive: true, filter: (source) => !/\.cache|expectations/.test(source) });
  change(path);
  return path;
}

/** A program that answers as a Python with these packages would, and then does `run`. */
function fakePython(name: string, packages: Record<string, string>, run = ''): string {
  const path = join(folder, name);
  const probe = `if (process.argv[3] === '--probe') { console.log('${JSON.stringify(packages)}'); process.exit(0); }`;
  writeFileSync(path, `#!${process.execPath}\n${probe}\n${run}\n`);
  chmodSync(path, 0o755);
  return path;
}

const ALL = { torch: '2', transformers: '5', tokenizers: '1', safetensors: '1' };

beforeAll(async () => {
  const { code, stdout } = await lacuna(['convert', tinyLlama, '-o', dense, '--verify', ...against]);
  expect(stdout).toMatch(/fp32 +limit .* passed/);
  expect(code).toBe(0);
}, 120_000);

describe('convert --verify', () => {
  it('records what it found', () => {
    const [check] = manifestOf(dense).checks;
    expect(check).toMatchObject({ precision: 'fp32', reference: 'expectations', sameTokenIds: true, passed: true });
    expect(check.tools.transformers).toMatch(/^\d+\./);
    expect(check.prefill.rows).toBe(32);
    expect(check.decode.rows).toBe(32);
    expect(check.all.relativeDifference).toBeGreaterThan(0);
    expect(check.all.relativeDifference).toBeLessThan(2e-5);
  });

  it('judges every precision of a folder by its own limits', { timeout: 120_000 }, async () => {
    const out = join(folder, 'all');
    const dtypes = ['fp16', 'bf16', 'int8', 'int4'];
    const args = ['convert', tinyLlama, '-o', out, '--dtype', dtypes.join(), '--verify', '--json', ...against];
    const { code, stdout } = await lacuna(args);
    const { checks } = JSON.parse(stdout);
    expect(checks.map(({ precision }: { precision: string }) => precision)).toEqual(dtypes);
    const [fp16, bf16, int8, int4] = checks;
    // The checkpoint is bf16: nothing is rounded.
    expect(bf16.all.relativeDifference).toBeLessThan(2e-5);
    expect(fp16.all.relativeDifference).toBeGreaterThan(2e-5);
    expect(int4.all.meanKl).toBeGreaterThan(int8.all.meanKl);
    expect(code).toBe(0);
    expect((await lacuna(['inspect', out])).stdout).toMatch(/int4 +limit .* passed/);
  });

  it('refuses before it converts when there is nothing to compare with', async () => {
    const out = join(folder, 'never');
    const args = ['convert', variant('alone'), '-o', out, '--verify', '--quiet'];
    const { code, stderr } = await lacuna([...args, '--python', fakePython('bare', { torch: '2' })]);
    expect(stderr).toMatch(/nothing to compare with: .*bare lacks transformers, tokenizers, safetensors/);
    expect(stderr).toMatch(/pip install torch transformers.*lacuna verify expect/);
    expect(code).toBe(2);
    expect((await lacuna([...args, '--python', join(folder, 'nowhere')])).stderr).toMatch(/nowhere does not run/);
    // It runs, and is no Python.
    expect((await lacuna([...args, '--python', 'echo'])).stderr).toMatch(/echo does not run/);
    expect(existsSync(out)).toBe(false);
  });

  it('refuses the expectations of another checkpoint', async () => {
    const other = variant('other', (path) => {
      const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'));
      writeFileSync(join(path, 'config.json'), JSON.stringify({ ...config, rms_norm_eps: 1e-6 }));
    });
    const { code, stderr } = await lacuna(['convert', other, '-o', join(folder, 'never'), '--verify', ...against]);
    expect(stderr).toMatch(/made from another checkpoint/);
    expect(code).toBe(2);
  });
});

describe('verify', () => {
  it('fails a folder whose weights were changed: exit code 1, the folder stays and says so', async () => {
    const broken = join(folder, 'broken');
    cpSync(dense, broken, { recursive: true });
    const data = join(broken, 'onnx/model.onnx_data');
    const bytes = readFileSync(data);
    // The first column of the embedding, whose 2048 rows of 128 floats are the first of the data, by one per cent.
    for (let id = 0; id < 2048; id++) bytes.writeFloatLE(bytes.readFloatLE(512 * id) * 1.01, 512 * id);
    writeFileSync(data, bytes);
    const { code, stdout } = await lacuna(['verify', broken, '--checkpoint', tinyLlama, ...against]);
    expect(stdout).toMatch(/FAILED[\s\S]*fp32: Logits differ by .* of the largest, more than 0\.000020\./);
    expect(code).toBe(1);
    expect(manifestOf(broken).checks).toMatchObject([{ passed: false }]);
  });

  it('fails a folder that gives NaN, and tells where', async () => {
    const broken = join(folder, 'nan');
    cpSync(dense, broken, { recursive: true });
    const data = join(broken, 'onnx/model.onnx_data');
    const bytes = readFileSync(data);
    for (let id = 0; id < 2048; id++) bytes.writeFloatLE(Number.NaN, 512 * id);
    writeFileSync(data, bytes);
    const { code, stdout } = await lacuna(['verify', broken, '--checkpoint', tinyLlama, ...against]);
    expect(stdout).toMatch(/fp32 +limit .* FAILED[\s\S]*logit of NaN at position 0 of the prompt "short"\./);
    expect(code).toBe(1);
    expect(manifestOf(broken).checks).toMatchObject([{ passed: false, all: null }]);
    expect((await lacuna(['inspect', broken])).stdout).toMatch(/FAILED/);
  });

  it('fails a tokenizer that gives other ids', async () => {
    const other = variant('ids', (path) => {
      const tokenizer = JSON.parse(readFileSync(join(path, 'tokenizer.json'), 'utf8'));
      // Without its merges it spells every word.
      tokenizer.model.merges = [];
      writeFileSync(join(path, 'tokenizer.json'), JSON.stringify(tokenizer));
    });
    const { code, stdout } = await lacuna(['verify', dense, '--checkpoint', other, ...against]);
    expect(stdout).toMatch(/token ids: others\nfp32: The tokenizer gives the prompts other ids/);
    expect(code).toBe(1);
  });

  it('finds the expectations beside a checkpoint where no Python has Transformers', async () => {
    const beside = variant('beside', (path) => copyFileSync(stored, join(path, EXPECTATIONS)));
    const { code } = await lacuna(['verify', dense, '--checkpoint', beside, '--threads', '2', '--quiet']);
    // On a machine with Transformers in its python3, that is asked instead: the answer is the same.
    expect(code).toBe(0);
  });

  it('takes them for no weights in the folder of a GGUF file', async () => {
    const gguf = join(folder, 'gguf');
    mkdirSync(gguf);
    copyFileSync(join(root, 'fixtures/gguf/attention-bias.gguf'), join(gguf, 'a.gguf'));
    copyFileSync(stored, join(gguf, `a.gguf.${EXPECTATIONS}`));
    const { code, stderr } = await lacuna(['convert', gguf, '-o', join(folder, 'from-gguf'), '--quiet']);
    expect(stderr).toBe('');
    expect(code).toBe(0);
  });

  it('tells what Python said when it fails, and leaves the folder as it was', async () => {
    const before = manifestOf(dense);
    const python = fakePython(
      'failing',
      ALL,
      "console.error('Traceback\\nValueError: no such model'); process.exit(1);",
    );
    const { code, stderr } = await lacuna(['verify', dense, '--checkpoint', tinyLlama, '--python', python, '--quiet']);
    expect(stderr).toMatch(/could not compute the reference: Traceback\s+ValueError: no such model/);
    expect(code).toBe(2);
    expect(manifestOf(dense)).toEqual(before);
  });

  it('stops Python when it is stopped itself', async () => {
    const python = fakePython('sleeping', ALL, 'setTimeout(() => {}, 600000);');
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 1500);
    const args = ['verify', dense, '--checkpoint', tinyLlama, '--python', python, '--quiet'];
    expect((await lacuna(args, stop.signal)).code).toBe(130);
  });

  it.each([
    ['no checkpoint', () => ['verify', dense], /--checkpoint CHECKPOINT/],
    [
      'another checkpoint',
      () => ['verify', dense, '--checkpoint', join(root, 'fixtures/llama-variants/legacy')],
      /nothing to compare|made from another checkpoint/,
    ],
    [
      'two references',
      () => ['verify', dense, '--checkpoint', tinyLlama, '--python', 'x', ...against],
      /two references/,
    ],
    [
      'a file that is none',
      () => ['verify', dense, '--checkpoint', tinyLlama, '--expectations', weights],
      /is no expect/,
    ],
    ['a reference without --verify', () => ['convert', tinyLlama, '-o', 'x', '--python', 'x'], /--verify is not given/],
    ['a file that exists', () => ['verify', 'expect', tinyLlama, '-o', stored], /already exists/],
  ])('refuses %s', async (_, args, message) => {
    const { code, stderr } = await lacuna(args());
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
  });
  const weights = join(tinyLlama, 'model.safetensors');

  it('does not take a sparse folder for a wrong one', { timeout: 120_000 }, async () => {
    const [statistics, plan, sparse] = ['statistics.json', 'plan.json', 'sparse'].map((name) => join(folder, name));
    await lacuna(['calibrate', tinyLlama, '-o', statistics, '--tokens', '1100', '--quiet']);
    await lacuna(['plan', statistics, '-o', plan, '--preset', 'top-k']);
    await lacuna(['sparsify', dense, '--plan', plan, '-o', sparse, '--quiet']);
    const { code, stderr } = await lacuna(['verify', sparse, '--checkpoint', tinyLlama, ...against]);
    expect(stderr).toMatch(/sparse: it does not compute/);
    expect(code).toBe(2);
    rmSync(sparse, { recursive: true });
  });
});
