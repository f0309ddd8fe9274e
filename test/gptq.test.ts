/** Rounding by GPTQ as a user meets it: what it is worth, and that a long run can be stopped and goes on. */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { required } from './real/real-model.ts';
import { lacuna, root, temporaryFolder, tinyLlama } from './temporary.ts';

const folder = temporaryFolder();
const fit = join(root, 'texts/fit.txt');
const whole = join(folder, 'whole');
const rounded = [
  'convert',
  tinyLlama,
  '--dtype',
  'int8,int4',
  '--data',
  fit,
  '--tokens',
  '2048',
  '--threads',
  '1',
  '--quiet',
];

const weightsOf = (output: string, name: string) => readFileSync(join(output, 'onnx', name));
const leftOf = (name: string) => readdirSync(folder).filter((entry) => entry.startsWith(`${name}.`));

/** Interrupts the conversion once the file of a layer is there; its exit code. */
async function stopAfter(layer: number, output: string): Promise<number | null> {
  const child = spawn(process.execPath, [join(root, 'bin/lacuna.js'), ...rounded, '-o', output]);
  const work = `${output}.rounding`;
  const isThere = () =>
    existsSync(work) && readdirSync(work).some((name) => name.endsWith(`layer-${layer}.safetensors`));
  const timer = setInterval(() => {
    if (!isThere()) return;
    clearInterval(timer);
    child.kill('SIGINT');
  }, 5);
  return new Promise((resolve) => child.on('close', resolve));
}

beforeAll(async () => {
  expect(await lacuna([...rounded, '-o', whole])).toMatchObject({ code: 0, stderr: '' });
}, 120_000);

describe('rounding by GPTQ', { timeout: 240_000 }, () => {
  it('says what it did, and leaves nothing but the folder', () => {
    const { models } = JSON.parse(readFileSync(join(whole, 'lacuna.json'), 'utf8'));
    const texts = [expect.objectContaining({ name: 'fit.txt', tokens: 2048 })];
    expect(models).toEqual([
      expect.objectContaining({ precision: 'int8', rounding: 'gptq', calibratedOn: texts }),
      expect.objectContaining({ precision: 'int4', rounding: 'gptq', calibratedOn: texts }),
    ]);
    expect(readFileSync(join(whole, 'README.md'), 'utf8')).toContain('rounded by GPTQ');
    expect(leftOf('whole')).toEqual([]);
  });

  it('brings the model nearer to its logits than weighing errors does', async () => {
    const dense = join(folder, 'dense');
    const search = join(folder, 'search');
    const one = ['convert', tinyLlama, '--threads', '1', '--quiet'];
    expect((await lacuna([...one, '-o', dense])).code).toBe(0);
    const weighed = ['--dtype', 'int4', '--data', fit, '--tokens', '2048', '--rounding', 'search'];
    expect((await lacuna([...one, '-o', search, ...weighed])).code).toBe(0);
    const klOf = async (path: string) => {
      const args = ['eval', path, '--dtype', 'int4', '--against', dense, '--tokens', '2048', '--mode', 'all'];
      const { code, stdout } = await lacuna([...args, '--json', '--quiet']);
      expect(code).toBe(0);
      return JSON.parse(stdout).modes[0].meanKl as number;
    };
    // It was 0.54 of it; no difference would be 1.
    expect(await klOf(whole)).toBeLessThan(0.7 * (await klOf(search)));
  });

  it.runIf(required)('goes on after the last layer when it was stopped, to the same bytes', async () => {
    const output = join(folder, 'stopped');
    const work = `${output}.rounding`;
    expect(await stopAfter(4, output)).toBe(130);
    expect(existsSync(output)).toBe(false);
    const finished = readdirSync(work).filter((name) => name.endsWith('.safetensors'));
    expect(finished.length).toBeGreaterThan(4);
    expect(finished.length).toBeLessThan(12);
    // A layer that is there is taken as it is: with other scales the weights are others.
    expect(await lacuna([...rounded, '-o', output])).toMatchObject({ code: 0, stderr: '' });
    expect(leftOf('stopped')).toEqual([]);
    for (const name of ['model.onnx_data', 'model_q4.onnx_data'])
      expect(weightsOf(output, name).equals(weightsOf(whole, name))).toBe(true);
  });

  it('by Gram matrices of merged shards gives the bytes of rounding by the text', async () => {
    const at = (name: string) => join(folder, name);
    const few = ['--tokens', '1100', '--threads', '1', '--quiet'];
    const measured = ['calibrate', tinyLlama, '--data', fit, ...few, '--with', 'input-grams'];
    for (const shard of ['0/2', '1/2'])
      expect((await lacuna([...measured, '--shard', shard, '-o', at(`shard-${shard[0]}.json`)])).code).toBe(0);
    const shards = ['shard-1.json', 'shard-0.json'].map(at);
    expect((await lacuna(['calibrate', 'merge', ...shards, '-o', at('grams.json')])).code).toBe(0);

    const convert = ['convert', tinyLlama, '--dtype', 'int4', '--threads', '1', '--quiet'];
    const byStatistics = [...convert, '--importance', at('grams.json'), '--rounding', 'gptq'];
    expect(await lacuna([...byStatistics, '-o', at('by-statistics')])).toMatchObject({ code: 0, stderr: '' });
    expect((await lacuna([...convert, '--data', fit, ...few, '-o', at('by-text')])).code).toBe(0);
    const [read, direct] = ['by-statistics', 'by-text'].map((name) => weightsOf(at(name), 'model.onnx_data'));
    expect(read.equals(direct)).toBe(true);
    const { models } = JSON.parse(readFileSync(join(at('by-statistics'), 'lacuna.json'), 'utf8'));
    expect(models[0]).toMatchObject({ rounding: 'gptq', calibratedOn: [{ name: 'fit.txt', tokens: 1024 }] });
    expect(leftOf('by-statistics')).toEqual([]);
  });

  it('names what statistics lack that it needs, in a dry run too', async () => {
    const statistics = join(folder, 'without.json');
    const calibrate = ['calibrate', tinyLlama, '--tokens', '1100', '--threads', '1', '--quiet'];
    expect((await lacuna([...calibrate, '-o', statistics])).code).toBe(0);
    const output = join(folder, 'lacking');
    const byStatistics = ['convert', tinyLlama, '-o', output, '--dtype', 'int4', '--importance', statistics];
    for (const more of [[], ['--dry-run']]) {
      const { code, stdout, stderr } = await lacuna([...byStatistics, '--rounding', 'gptq', ...more]);
      expect(code).toBe(2);
      expect(stdout + stderr).toMatch(/without\.json: the statistic "input-grams" was\s+not measured/);
      expect(stdout + stderr).toMatch(/lacuna calibrate CHECKPOINT -o \S+without\.json --with input-grams --force/);
    }
    expect(leftOf('lacking')).toEqual([]);
  });

  it('refuses an output that is there before anything is measured', async () => {
    const { code, stderr } = await lacuna([...rounded, '-o', whole]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/--force/);
    expect(leftOf('whole')).toEqual([]);
  });

  it.runIf(required)('names a layer file that was damaged', async () => {
    const output = join(folder, 'damaged');
    const work = `${output}.rounding`;
    await stopAfter(1, output);
    const [name] = readdirSync(work).filter((entry) => entry.endsWith('layer-0.safetensors'));
    writeFileSync(join(work, name), readFileSync(join(work, name)).subarray(0, 5000));
    const { code, stderr } = await lacuna([...rounded, '-o', output]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/layer-0\.safetensors/);
  });
});
