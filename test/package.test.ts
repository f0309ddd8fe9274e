/** The package as it is published: packed, installed into an empty folder without this project's overrides, and used. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { required } from './real/real-model.ts';
import { root, temporaryFolder, tinyLlama } from './temporary.ts';
import { CTRL_C, ENTER, hasTerminal, Terminal } from './terminal.ts';

const folder = temporaryFolder();
const hasNative = required || existsSync(join(root, `native/build/linux-${process.arch}/lib/lacuna_node.node`));
const npm = (args: readonly string[], cwd: string) =>
  execFileSync('npm', args, { cwd, encoding: 'utf8', stdio: 'pipe' });

/** Every example of README.md and docs/ that imports the package, by the name that it is compiled under. */
const examples = Object.fromEntries(
  ['README.md', ...readdirSync(join(root, 'docs')).map((name) => join('docs', name))]
    .filter((path) => path.endsWith('.md'))
    .flatMap((path) =>
      [...readFileSync(join(root, path), 'utf8').matchAll(/^```ts\n(.*?)^```$/gms)]
        .filter(([, code]) => code.includes("from 'lacuna'"))
        .map(([, code], index) => [`${basename(path, '.md')}-${index + 1}.mts`, code]),
    ),
);

/** What the compiler says to files, with the options of docs/library.md: declarations of the package are checked as well. */
function compile(folder: string, names: readonly string[]): string {
  const options = ['--strict', '--module', 'nodenext', '--target', 'es2022', ...names];
  return spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), ...options], {
    cwd: folder,
    encoding: 'utf8',
  }).stdout;
}

describe('the packed tarball', { timeout: 300_000 }, () => {
  const app = join(folder, 'app');

  beforeAll(() => {
    // The build made by `npm test` is packed as it is: building again would pull dist away under other tests.
    npm(['pack', '--ignore-scripts', '--pack-destination', folder], root);
    const [tarball] = readdirSync(folder);
    mkdirSync(app);
    writeFileSync(join(app, 'package.json'), '{ "private": true, "type": "module" }');
    npm(['install', '--onnxruntime-node-install=skip', '--no-audit', '--no-fund', join(folder, tarball)], app);
  }, 300_000);

  it('has types by which every example compiles, and that refuse what there is not', () => {
    const names = Object.entries(examples).map(([name, code]) => {
      writeFileSync(join(app, name), code);
      return name;
    });
    expect(names).toEqual(expect.arrayContaining(['README-1.mts', 'library-1.mts']));
    expect(compile(app, names)).toBe('');
    writeFileSync(join(app, 'wrong.mts'), examples['README-1.mts'].replace("'int8'", "'int3'"));
    expect(compile(app, ['wrong.mts'])).toMatch(/^wrong\.mts\(\d+,\d+\): error .*"int3"/);
  });

  it("runs README's first example, which prints a perplexity and a text", () => {
    symlinkSync(tinyLlama, join(app, 'SmolLM2-135M'));
    writeFileSync(join(app, 'first.mts'), examples['README-1.mts']);
    expect(compile(app, ['first.mts'])).toBe('');
    const printed = execFileSync(process.execPath, ['first.mjs'], { cwd: app, encoding: 'utf8' });
    expect(printed).toMatch(/^perplexity \d+\.\d\d\n./);
    rmSync(join(app, 'dense'), { recursive: true });
  });

  it('calibrates in shards by the scripts of docs/scale', () => {
    const output = join(app, 'shards');
    const scale = join(app, 'node_modules/lacuna/docs/scale');
    const path = `${join(app, 'node_modules/.bin')}:${process.env.PATH}`;
    const task = { SLURM_ARRAY_TASK_ID: '0', SLURM_CPUS_PER_TASK: '1' };
    const env = { ...process.env, PATH: path, CHECKPOINT: tinyLlama, OUTPUT: output, SHARDS: '1', ...task };
    const sh = (script: string, ...args: string[]) =>
      execFileSync('sh', [join(scale, script), ...args], { cwd: app, env, stdio: 'pipe' });
    sh('calibrate.sbatch', '--tokens', '1100');
    sh('calibrate.sh', 'merge');
    expect(readdirSync(output)).toEqual(expect.arrayContaining(['shard-0-of-1.json', 'statistics.json']));
  });

  it.runIf(hasTerminal)('has the wizard, with what it draws by inside', async () => {
    expect(readdirSync(join(app, 'node_modules'))).not.toContain('@inquirer');
    expect(readFileSync(join(app, 'node_modules/lacuna/dist/LICENCES.txt'), 'utf8')).toMatch(
      /^@inquirer\/core \S+ \(MIT\)$/m,
    );
    const terminal = new Terminal([join(app, 'node_modules/.bin/lacuna'), 'wizard'], { cwd: app });
    await terminal.answer(/Checkpoint /, `${tinyLlama}${ENTER}`);
    await terminal.answer(/12 layers, hidden 128.*What to make/s, CTRL_C);
    expect(await terminal.end()).toBe(130);
  });

  it('installs, converts, runs and is imported', () => {
    const command = join(app, 'node_modules/.bin/lacuna');
    const lacuna = (...args: string[]) => execFileSync(command, args, { cwd: app, encoding: 'utf8', stdio: 'pipe' });
    // Its lines are wrapped.
    const doctor = () => lacuna('doctor').replace(/\s+/g, ' ');
    expect(lacuna('--help')).toMatch(/convert/);
    lacuna('convert', tinyLlama, '-o', 'dense');
    expect(lacuna('run', 'dense', 'In the beginning', '--max-tokens', '4').length).toBeGreaterThan(4);
    // No --data: the texts come with the package.
    expect(lacuna('eval', 'dense', '--tokens', '600', '--quiet')).toMatch(/perplexity \d/);
    writeFileSync(join(app, 'use.js'), "import { inspect } from 'lacuna'; console.log((await inspect('dense')).kind);");
    expect(execFileSync(process.execPath, ['use.js'], { cwd: app, encoding: 'utf8' }).trim()).toBe('folder');
    expect(readdirSync(join(app, 'node_modules'))).not.toContain('onnx-proto');
    // The script is found from wherever the bundle lies: the Python that is to run it is what is missing.
    const verify = ['verify', 'dense', '--checkpoint', tinyLlama, '--python', process.execPath];
    expect(() => lacuna(...verify)).toThrow(/There is nothing to compare with: .* does not run/);

    const lib = join(app, 'node_modules/lacuna/native/build', `linux-${process.arch}`, 'lib');
    expect(existsSync(lib)).toBe(hasNative);
    if (!hasNative) {
      expect(doctor()).toMatch(/native library: absent: this installation has none for \S+ .*: not active/);
      return;
    }
    expect(doctor()).toMatch(
      /native library: \S+\/liblacuna_ort\.so, for linux-\S+ with glibc 2\.28 or newer, .*: active, with [A-Z0-9_]+:/,
    );
    const prompt = ['run', 'dense', 'In the beginning', '--max-tokens', '4', '--json'];
    const [ours, stock] = [lacuna(...prompt), lacuna(...prompt, '--engine', 'stock')].map((json) => JSON.parse(json));
    expect([ours.engine, stock.engine]).toEqual(['native', 'stock']);
    expect(ours.tokens).toEqual(stock.tokens);
    writeFileSync(
      join(app, 'backend.js'),
      `import 'lacuna/backend';
       import { InferenceSession } from 'onnxruntime-node';
       const session = await InferenceSession.create('dense/onnx/model.onnx', { executionProviders: ['lacuna'] });
       console.log(session.outputNames[0]);`,
    );
    expect(execFileSync(process.execPath, ['backend.js'], { cwd: app, encoding: 'utf8' }).trim()).toBe('logits');

    const files = ['liblacuna_ort.so', 'lacuna_node.node'].map((name) => join(lib, name));
    const whole = files.map((file) => readFileSync(file));
    const machine = Buffer.from([process.arch === 'x64' ? 183 : 62, 0]);
    for (const [at, file] of files.entries()) {
      const [before, after] = [whole[at].subarray(0, 18), whole[at].subarray(20)];
      const spoilt = [
        [Buffer.concat([before, machine, after]), 'it is built for', 'install Lacuna again on this machine'],
        [whole[at].subarray(0, whole[at].length - 1), 'it is cut short', 'install Lacuna again on this machine'],
      ] as const;
      for (const [bytes, why, remedy] of spoilt) {
        writeFileSync(file, bytes);
        expect(doctor()).toMatch(new RegExp(`not active: .*${why}.*${remedy}`));
        const { stdout, stderr } = spawnSync(command, prompt, { cwd: app, encoding: 'utf8' });
        expect(stderr.replace(/\s+/g, ' ')).toMatch(new RegExp(`Stock ONNX Runtime is used: .*${why}`));
        expect(JSON.parse(stdout)).toMatchObject({ engine: 'stock', tokens: stock.tokens });
      }
      writeFileSync(file, whole[at]);
    }
    expect(doctor()).toMatch(/: active/);
  });
});
