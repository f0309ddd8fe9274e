/** docs/scale: a calibration over many machines. The Slurm job is run by Slurm; the Kubernetes manifest is read. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { USUAL_STATISTICS } from '../calibrate/index.ts';
import { writeStatistics } from '../formats/statistics.ts';
import { LACUNA_VERSION } from '../src/core/manifest.ts';
import type { ModelSpec } from '../src/core/model.ts';
import type { Sums } from '../src/core/statistics.ts';
import { required } from './real/real-model.ts';
import { type Slurm, startSlurm } from './slurm.ts';
import { lacuna, root, temporaryFolder, tinyLlama } from './temporary.ts';

const folder = temporaryFolder();
const scale = join(root, 'docs/scale');
const script = join(scale, 'calibrate.sh');
const fileOf = (output: string, index: number, shards: number) => join(output, `shard-${index}-of-${shards}.json`);
const tensorsOf = (json: string) => json.replace(/json$/, 'safetensors');

/** A folder in PATH with a command `lacuna` of these lines, and docs/ where a package has it. */
function install(name: string, ...lines: readonly string[]): string {
  const bin = join(folder, name, 'bin');
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, 'lacuna'), ['#!/bin/sh', ...lines, ''].join('\n'), { mode: 0o755 });
  symlinkSync(join(root, 'docs'), join(folder, name, 'docs'));
  return `${bin}:${process.env.PATH}`;
}

/** Prints its arguments, a line each. */
const ECHO = install('echo', 'printf \'%s\\n\' "$@"');

type Environment = Readonly<Record<string, string>>;

interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(command: readonly string[], env: Environment): Ran {
  const [file, ...args] = command;
  const { status, stdout, stderr } = spawnSync(file, args, { env: { PATH: ECHO, ...env }, encoding: 'utf8' });
  return { code: status, stdout, stderr };
}

const calibrate = (args: readonly string[], env: Environment) => run(['sh', script, ...args], env);

/** What a shard leaves, empty. */
function leave(output: string, index: number, shards: number): void {
  const file = fileOf(output, index, shards);
  for (const path of [file, tensorsOf(file)]) writeFileSync(path, '');
}

function outputOf(name: string): string {
  const output = join(folder, name);
  mkdirSync(output);
  return output;
}

describe('calibrate.sh', () => {
  const output = outputOf('plain');
  const env = { CHECKPOINT: './a model', OUTPUT: output, SHARDS: '3' };

  it.each(['SLURM_ARRAY_TASK_ID', 'JOB_COMPLETION_INDEX'])('measures the shard that %s names', (variable) => {
    const { code, stdout } = calibrate(['shard', '--data', 'a text'], { ...env, [variable]: '2' });
    const file = fileOf(output, 2, 3);
    const words = ['calibrate', './a model', '-o', file, '--shard', '2/3', '--force', '--data', 'a text'];
    expect(stdout.split('\n')).toEqual([...words, '']);
    expect(code).toBe(0);
  });

  it('passes over a shard that is there whole, under its number of shards', () => {
    const shard = (shards: string) =>
      calibrate(['shard'], { ...env, OUTPUT: outputs, SHARDS: shards, JOB_COMPLETION_INDEX: '1' });
    const outputs = outputOf('present');
    leave(outputs, 1, 3);
    const file = fileOf(outputs, 1, 3);
    expect(shard('3')).toEqual({ code: 0, stdout: `Shard 1 of 3 is there already: ${file}\n`, stderr: '' });
    expect(shard('2').stdout).toContain('--shard\n1/2\n');
    for (const half of [file, tensorsOf(file)]) {
      leave(outputs, 1, 3);
      rmSync(half);
      expect(shard('3').stdout).toContain('--shard\n1/3\n');
    }
  });

  it('merges all shards, and names those that are missing', () => {
    const outputs = outputOf('merging');
    const merge = (...args: string[]) => calibrate(['merge', ...args], { OUTPUT: outputs, SHARDS: '12' });
    const indices = Array.from({ length: 12 }, (_, index) => index);
    for (const index of indices) if (![2, 10].includes(index)) leave(outputs, index, 12);
    const { code, stdout, stderr } = merge();
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toContain(`Of 12 shards in ${outputs}, these are missing: 2,10\n`);
    expect(stderr).toContain('--array=2,10)');
    for (const index of [2, 10]) leave(outputs, index, 12);
    const files = indices.map((index) => fileOf(outputs, index, 12));
    const words = ['calibrate', 'merge', '-o', join(outputs, 'statistics.json'), '--quiet', ...files, ''];
    expect(merge('--quiet')).toEqual({ code: 0, stdout: words.join('\n'), stderr: '' });
  });

  it.each([
    ['no mode', [], env, /Expected shard or merge as the first word, got ''/],
    ['another mode', ['--tokens'], env, /Expected shard or merge as the first word, got '--tokens'/],
    ['no output', ['merge'], { SHARDS: '3' }, /OUTPUT is not set/],
    ['no number of shards', ['merge'], { OUTPUT: output }, /at least 1 in SHARDS, got ''/],
    ['no shards', ['merge'], { ...env, SHARDS: '0' }, /at least 1 in SHARDS, got '0'/],
    ['a number that is none', ['merge'], { ...env, SHARDS: '3x' }, /at least 1 in SHARDS, got '3x'/],
    ['no checkpoint', ['shard'], { OUTPUT: output, SHARDS: '3' }, /CHECKPOINT is not set/],
    ['no index', ['shard'], env, /Neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX/],
  ])('refuses %s', (_, args, given, message) => {
    const { code, stdout, stderr } = calibrate(args, given);
    expect(stderr).toMatch(message);
    expect([code, stdout]).toEqual([2, '']);
  });
});

type Yaml = string | number | boolean | readonly Yaml[] | { readonly [key: string]: Yaml };

/** The part of YAML that the manifest is written in: maps and lists by indentation, words, numbers, and JSON. */
function readYaml(lines: readonly string[]): Yaml {
  const indent = (line: string) => line.search(/\S/);
  const heads = lines.flatMap((line, i) => (indent(line) === indent(lines[0]) ? [i] : []));
  const parts = heads.map((at, i) => lines.slice(at, heads[i + 1]));
  if (/^ *- /.test(lines[0])) return parts.map(([head, ...rest]) => readYaml([head.replace('-', ' '), ...rest]));
  const entries = parts.map(([head, ...rest]) => {
    const [, key, value] = /^ *(\w+):(?: (.+))?$/.exec(head) ?? expect.fail(`no line of a map: "${head}"`);
    if (value === undefined) return [key, readYaml(rest)] as const;
    expect(rest).toEqual([]);
    return [key, /^(["[].*|\d+|true|false)$/.test(value) ? JSON.parse(value) : value] as const;
  });
  expect(new Set(entries.map(([key]) => key)).size).toBe(entries.length);
  return Object.fromEntries(entries);
}

interface Job {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: Readonly<Record<string, Yaml>> & {
    readonly template: { readonly spec: { readonly containers: readonly Container[]; readonly volumes: Yaml } };
  };
}

interface Container {
  readonly image: string;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value: string }[];
  readonly resources: { readonly requests: { readonly cpu: string } };
}

describe('calibrate.yaml', () => {
  const [shards, merge] = readFileSync(join(scale, 'calibrate.yaml'), 'utf8')
    .split('---\n')
    .map((text) => readYaml(text.split('\n').filter((line) => !/^ *(#.*)?$/.test(line))) as unknown as Job);
  const containerOf = ({ spec }: Job) => spec.template.spec.containers[0];
  const count = Number(shards.spec.completions);

  /** Runs a container here: with docs/ of this tree for the image's, and a folder for the shared volume. */
  function runPod(job: Job, shared: string, given: Environment): Ran {
    const { command, args, env } = containerOf(job);
    const here = (text: string) =>
      text.replace('/usr/local/lib/node_modules/lacuna', root).replace(/^\/shared/, shared);
    return run(
      [...command, ...args].map(here),
      Object.fromEntries([...env.map(({ name, value }) => [name, here(value)]), ...Object.entries(given)]),
    );
  }

  it('has an indexed Job with retries for each index, and one that waits to merge', () => {
    for (const { apiVersion, kind } of [shards, merge]) expect([apiVersion, kind]).toEqual(['batch/v1', 'Job']);
    expect(shards.spec).toMatchObject({
      completionMode: 'Indexed',
      parallelism: count,
      backoffLimitPerIndex: 3,
      podReplacementPolicy: 'Failed',
      // Retries of single indices want it.
      template: { spec: { restartPolicy: 'Never' } },
    });
    expect(merge.spec).toMatchObject({ suspend: true, backoffLimit: 0 });
    expect(merge.spec.template.spec.volumes).toEqual(shards.spec.template.spec.volumes);
  });

  it('has one image, of this version, and as many threads as processors', () => {
    const { image, args, resources } = containerOf(shards);
    expect([image, containerOf(merge).image]).toEqual(Array(2).fill(`registry.example/lacuna:${LACUNA_VERSION}`));
    expect(args[args.indexOf('--threads') + 1]).toBe(resources.requests.cpu);
  });

  it('measures each shard once, by options that calibrate knows, and merges their files', async () => {
    const shared = outputOf('shared');
    const output = join(shared, 'statistics');
    mkdirSync(output);
    const files: string[] = [];
    for (let index = 0; index < count; index++) {
      const { code, stdout, stderr } = runPod(shards, shared, { JOB_COMPLETION_INDEX: String(index) });
      expect([code, stderr]).toEqual([0, '']);
      const words = stdout.trim().split('\n');
      expect(words[words.indexOf('--shard') + 1]).toBe(`${index}/${count}`);
      files.push(words[words.indexOf('-o') + 1]);
      leave(output, index, count);
      // It goes as far as to look for the checkpoint.
      expect((await lacuna(words)).stderr).toContain(join(shared, 'model'));
    }
    const { code, stdout } = runPod(merge, shared, {});
    expect([code, stdout.trim().split('\n').slice(4)]).toEqual([0, files]);
  });

  it('gives the variables that the script reads, as text', () => {
    const names = (job: Job) => containerOf(job).env.map(({ name }) => name);
    expect(names(shards)).toEqual(['CHECKPOINT', 'OUTPUT', 'SHARDS']);
    expect(names(merge)).toEqual(['OUTPUT', 'SHARDS']);
    for (const job of [shards, merge])
      expect(containerOf(job).env.find(({ name }) => name === 'SHARDS')?.value).toBe(String(count));
    for (const { value } of [shards, merge].flatMap((job) => containerOf(job).env)) expect(value).toBeTypeOf('string');
  });
});

/** Shards of a model with wide layers, whose sums are zeros: they have the size of real ones. */
async function writeWideShards(output: string, count: number, layers: number): Promise<readonly string[]> {
  const model = {
    modelType: 'llama',
    fingerprint: 'wide',
    numHiddenLayers: layers,
    hiddenSize: 8,
    intermediateSize: 50_000,
  };
  const spec = { ...model, numAttentionHeads: 1, headDim: 8 } as unknown as ModelSpec;
  const definitions = Object.fromEntries(USUAL_STATISTICS.map(({ name, definition }) => [name, definition]));
  const facts = { model, texts: [], sequenceLength: 2, plannedSequences: count, tokens: 2, definitions };
  const files = Array.from({ length: count }, (_, index) => fileOf(output, index, count));
  for (const [index, file] of files.entries()) {
    const shape = { spec, tokens: 2, sequences: [{ index, tokens: 2 }] };
    const sums: Record<string, Sums> = {};
    const layerSums: Record<string, Sums[]> = {};
    for (const { name, byLayer, empty } of USUAL_STATISTICS)
      if (byLayer) layerSums[name] = [...Array<Sums>(layers).fill(empty(shape)), {}];
      else sums[name] = empty(shape);
    await writeStatistics({ ...facts, sequences: [index], sums, layerSums }, file, {});
  }
  return files;
}

/** Prints the most memory that a process had, when it ends. */
const PRINT_PEAK = `data:text/javascript,import { readFileSync } from 'node:fs';
  process.on('exit', () => console.error(/VmHWM:.*/.exec(readFileSync('/proc/self/status', 'utf8'))[0]))`;

/** The most memory of a command, in bytes. */
function peakOf(...args: readonly string[]): number {
  const { code, stderr } = run([process.execPath, '--import', PRINT_PEAK, join(root, 'bin/lacuna.js'), ...args], {});
  expect(code).toBe(0);
  return Number(/VmHWM:\s+(\d+) kB/.exec(stderr)?.[1]) * 1024;
}

describe.runIf(required)('a merge', { timeout: 60_000 }, () => {
  it('takes the memory of a few shards, however many there are', async () => {
    const output = outputOf('wide');
    const files = await writeWideShards(output, 16, 1);
    const peak = (shards: readonly string[]) =>
      peakOf('calibrate', 'merge', ...shards, '-o', join(output, `of-${shards.length}.json`), '--quiet');
    const shard = statSync(tensorsOf(files[0])).size;
    // With all shards in memory, it would be the size of the 14 that the smaller merge does not read. Node collects what
    // was merged when some 64 MB of it have gathered, which are three shards.
    expect((peak(files) - peak(files.slice(0, 2))) / shard).toBeLessThan(7);
  });

  it('takes the memory of one layer, however many there are, and so does whoever reads the result', async () => {
    const taken = async (layers: number) => {
      const output = outputOf(`layers-${layers}`);
      const files = await writeWideShards(output, 2, layers);
      const merged = join(output, 'statistics.json');
      const merging = peakOf('calibrate', 'merge', ...files, '-o', merged, '--quiet');
      return { size: statSync(tensorsOf(merged)).size, peaks: [merging, peakOf('inspect', merged)] };
    };
    const [many, one] = [await taken(16), await taken(1)];
    // With all layers in memory, it would be the size of the 15 more. Merging keeps 64 MiB in memory, and Node collects
    // what was read when some 64 MB of it have gathered: each less than a quarter of these 15.
    many.peaks.forEach((peak, i) => {
      expect(peak - one.peaks[i]).toBeLessThan((many.size - one.size) / 2);
    });
  });
});

describe.runIf(required)('calibrate.sbatch in Slurm', { timeout: 120_000 }, () => {
  const SHARDS = 4;
  const few = ['--tokens', '2048'];
  const output = join(folder, 'of-slurm');
  const statistics = join(output, 'statistics.json');
  // The JSON names its tensors, so files with the same name can be the same.
  const whole = join(folder, 'whole', 'statistics.json');
  const path = install('real', `exec '${process.execPath}' '${join(root, 'bin/lacuna.js')}' "$@"`);
  const env = { PATH: path, CHECKPOINT: tinyLlama, OUTPUT: output, SHARDS: String(SHARDS) };
  const indices = Array.from({ length: SHARDS }, (_, index) => index);
  let slurm: Slurm;

  beforeAll(async () => {
    slurm = await startSlurm(outputOf('slurm'));
    // As many threads as the tasks have.
    expect((await lacuna(['calibrate', tinyLlama, '-o', whole, ...few, '--threads', '1', '--quiet'])).code).toBe(0);
  }, 120_000);

  afterAll(() => slurm?.stop(), 120_000);

  const logOf = (name: string, task: number | string) => join(folder, `${name}-${task}.log`);

  /** Submits the array and, depending on it, the merge, as README.md of docs/scale does; waits for both. */
  async function submit(name: string): Promise<void> {
    const own = ['--parsable', `--array=0-${SHARDS - 1}`, '--cpus-per-task=1', '--mem=0'];
    const job = slurm.command(
      'sbatch',
      [...own, `--output=${logOf(name, '%a')}`, join(scale, 'calibrate.sbatch'), ...few],
      env,
    );
    const merge = [`--dependency=afterany:${job}`, `--output=${logOf(name, 'merge')}`, '--wrap', `sh ${script} merge`];
    slurm.command('sbatch', merge, env);
    await slurm.idle();
  }

  function expectWhole(): void {
    for (const [merged, one] of [
      [statistics, whole],
      [tensorsOf(statistics), tensorsOf(whole)],
    ])
      expect(readFileSync(merged).equals(readFileSync(one))).toBe(true);
  }

  function remove(...files: readonly string[]): void {
    for (const file of files) for (const path of [file, tensorsOf(file)]) rmSync(path);
  }

  it('measures the shards, which merge to the bits of one run', async () => {
    await submit('first');
    for (const index of indices)
      expect(readFileSync(logOf('first', index), 'utf8')).toContain(`Written to ${fileOf(output, index, SHARDS)}`);
    expectWhole();
  });

  it('names a shard that was lost, and measures only that one again', async () => {
    const lost = fileOf(output, 2, SHARDS);
    const marks = () => indices.map((index) => statSync(fileOf(output, index, SHARDS)).ino);
    const before = marks();
    const bytes = readFileSync(tensorsOf(lost));
    remove(lost, statistics);
    const { code, stderr } = calibrate(['merge'], env);
    expect([code, stderr]).toEqual([1, expect.stringContaining(`Of 4 shards in ${output}, these are missing: 2\n`)]);
    expect(existsSync(statistics)).toBe(false);
    // Takes the place on the disk, so that the new file cannot get the old one's number.
    writeFileSync(join(output, 'in-its-place'), '');
    await submit('again');
    const said = indices.map((index) => readFileSync(logOf('again', index), 'utf8'));
    for (const index of [0, 1, 3])
      expect(said[index]).toBe(`Shard ${index} of 4 is there already: ${fileOf(output, index, SHARDS)}\n`);
    expect(said[2]).toContain(`Written to ${lost}`);
    expect(marks().map((mark, index) => mark === before[index])).toEqual([true, true, false, true]);
    expect(readFileSync(tensorsOf(lost)).equals(bytes)).toBe(true);
    expectWhole();
  });

  it('refuses a shard that is given twice', () => {
    const doubled = join(folder, 'doubled');
    cpSync(output, doubled, { recursive: true });
    remove(join(doubled, 'statistics.json'));
    cpSync(fileOf(doubled, 0, SHARDS), fileOf(doubled, 1, SHARDS));
    const { code, stderr } = calibrate(['merge'], { ...env, OUTPUT: doubled });
    expect(stderr).toMatch(/The statistics to merge share sequence 0\n {2}Merge each shard once\./);
    expect(code).toBe(2);
    expect(existsSync(join(doubled, 'statistics.json'))).toBe(false);
  });

  it('runs the merge all the same when a task failed, so that its log names the shard', async () => {
    remove(fileOf(output, 3, SHARDS), statistics);
    // In place of the result, so that the task cannot write it.
    mkdirSync(fileOf(output, 3, SHARDS));
    await submit('failing');
    expect(readFileSync(logOf('failing', 3), 'utf8')).toContain('is a folder');
    expect(readFileSync(logOf('failing', 'merge'), 'utf8')).toContain('these are missing: 3\n');
  });
});
