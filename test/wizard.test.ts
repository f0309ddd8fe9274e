/** `lacuna wizard` at a terminal: what it asks and shows, what it makes, and what becomes of a session that is cut short. */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { differenceOf, filesIn, hashTree } from '../fuzz/harness/tree.ts';
import { startHubDouble } from '../src/hub/testing/server.ts';
import { ADDON_NAME } from '../src/pipeline/engine/native-library.ts';
import { nativeLib } from './native-lib.ts';
import { required } from './real/real-model.ts';
import { lacuna, root, temporaryFolder, texts, tinyLlama } from './temporary.ts';
import {
  COLUMNS,
  CTRL_C,
  CTRL_U,
  commandIn,
  DOWN,
  ENTER,
  hasTerminal,
  runCommandOf,
  Terminal,
  wizardWords,
} from './terminal.ts';

const folder = temporaryFolder();

/** A folder with the small checkpoint under a short name, as a user has it. */
function place(name: string, copied = false): string {
  const path = join(folder, name);
  mkdirSync(path);
  if (copied) cpSync(tinyLlama, join(path, 'tiny'), { recursive: true });
  else symlinkSync(tinyLlama, join(path, 'tiny'));
  return path;
}

const FEW = ['--tokens', '1100', '--threads', '1'];

function wizard(cwd: string, args: readonly string[] = [], env: Readonly<Record<string, string>> = {}): Terminal {
  return new Terminal([...wizardWords(), ...args, ...FEW], { cwd, env });
}

const tooLong = (terminal: Terminal) => terminal.lines().filter((line) => line.length > COLUMNS);

const hasNative = required || existsSync(join(nativeLib, ADDON_NAME));

/** Runs the command that a session ended with in a shell, into the same folder, and says what is different. */
async function differenceByCommand(terminal: Terminal, cwd: string, output: string): Promise<string | undefined> {
  const wanted = hashTree(join(cwd, output));
  renameSync(join(cwd, output), join(cwd, 'by-wizard'));
  expect(await runCommandOf(terminal, { cwd })).toBe(0);
  return differenceOf(wanted, hashTree(join(cwd, output)));
}

describe.runIf(hasTerminal)('the wizard at a terminal', { timeout: 180_000 }, () => {
  it('makes the fastest model within a budget, and its command makes the same bytes', async () => {
    const cwd = place('auto');
    mkdirSync(join(cwd, 'there'));
    const terminal = wizard(cwd, ['--host', 'stock']);
    await terminal.answer(/Checkpoint /, `nowhere${ENTER}`);
    await terminal.answer(/Nothing at nowhere.*Checkpoint /s, `tiny${ENTER}`);
    await terminal.answer(/12 layers, hidden 128, FFN 384.*What to make/s, ENTER);
    await terminal.answer(/Which texts/, ENTER);
    await terminal.answer(/Budget /, `ppl<=0.9${ENTER}`);
    await terminal.answer(/no model can keep to "ppl<=0\.9"/, `${CTRL_U}ppl<=30%${ENTER}`);
    await terminal.answer(/Folder to make/, `there${ENTER}`);
    await terminal.answer(/there exists/, ENTER);
    await terminal.answer(/Folder to make/, ENTER);
    await terminal.answer(/for each of 24 blocks among int8, int4.*Begin/s, ENTER);
    expect(await terminal.end()).toBe(0);

    expect(terminal.answers()).toEqual([
      ['Checkpoint (folder, GGUF file or owner/name on the Hub):', 'nowhere'],
      ['Checkpoint (folder, GGUF file or owner/name on the Hub):', 'tiny'],
      ['What to make?', 'the fastest dense model within a budget'],
      ['Which texts to measure on?', 'those of the package'],
      ['Budget (ppl<=, kl<=, speed>=, bytes<=; commas between them):', 'ppl<=30%'],
      ['Folder to make:', 'there'],
      ['there exists. What to do?', 'make another folder'],
      ['Folder to make:', './tiny-fast'],
      ['Begin?', 'yes'],
    ]);
    const shown = terminal.lines().join('\n');
    expect(shown).toMatch(/^Shipped: dense, 24 blocks in int4$/m);
    // The models that were measured, with the one that was chosen marked.
    expect(shown).toMatch(/^\* 24 int4 +\d/m);
    expect(tooLong(terminal)).toEqual([]);
    expect(readdirSync(cwd).sort()).toEqual(['there', 'tiny', 'tiny-fast']);
    const files = filesIn(join(cwd, 'tiny-fast')).map((path) => path.slice(join(cwd, 'tiny-fast/').length));
    expect(files).toEqual(expect.arrayContaining(['lacuna.json', 'lacuna/auto.json', 'onnx/model.onnx']));
    expect(commandIn(terminal).replaceAll(/ \\\n */g, ' ')).toBe(
      "lacuna build tiny -o ./tiny-fast --tokens 1100 --budget 'ppl<=30%' --host stock --threads 1",
    );
    expect(await differenceByCommand(terminal, cwd, 'tiny-fast')).toBeUndefined();
  });

  it.runIf(required)('ends with the failed check, or goes back to the budget and measures nothing again', async () => {
    const cwd = place('tight');
    const args = ['tiny', '-o', 'out', '--host', 'stock', '--budget', 'ppl<=1.0000001'];
    const stopped = wizard(cwd, args);
    await stopped.answer(/Which texts/, ENTER);
    await stopped.answer(/Begin/, ENTER);
    await stopped.answer(/int8, has a perplexity ratio of.*Nothing was written/s, DOWN + ENTER);
    expect(await stopped.end()).toBe(1);
    expect(stopped.raw).toMatch(/error: The most exact model, int8,\s+has a perplexity ratio of/);

    const terminal = wizard(cwd, args);
    await terminal.answer(/Which texts/, ENTER);
    await terminal.answer(/Begin/, ENTER);
    await terminal.answer(/int8, has a perplexity ratio of.*Nothing was written/s, ENTER);
    await terminal.answer(/Budget /, `ppl<=30%${ENTER}`);
    await terminal.answer(/an earlier run has written\s+them.*Begin/s, ENTER);
    expect(await terminal.end()).toBe(0);
    expect(terminal.raw.slice(terminal.raw.lastIndexOf('Continuing with'))).not.toMatch(/Calibrating|Drawing/);
    expect(tooLong(terminal)).toEqual([]);
    expect(readdirSync(cwd).sort()).toEqual(['out', 'tiny']);
    expect(commandIn(terminal)).toMatch(/--budget 'ppl<=30%'/);
  });

  it.runIf(hasNative)('shows what a sparse model is expected to give, moved by keys', async () => {
    const cwd = place('sparse');
    const terminal = wizard(cwd, ['tiny', '--host', 'native', '-o', 'out'], { LC_ALL: 'C' });
    await terminal.answer(/What to make/, `${DOWN}${DOWN}${ENTER}`);
    await terminal.answer(/How are weights/, ENTER);
    await terminal.answer(/Which texts/, ENTER);
    await terminal.answer(/Perplexity to allow/, `none${ENTER}`);
    // In ASCII, because the locale knows no more.
    await terminal.shows(/Saturation by layer.* 0 [_.=+*#@-]{12}\n.*\* +50 % +66\.7 %.*another target/s);
    terminal.type(`another t${ENTER}`);
    await terminal.answer(/neurons to keep:/, `0.4${ENTER}`);
    await terminal.answer(/\* +40 % +60\.0 %.*another target/s, `another score${ENTER}`);
    await terminal.answer(/which score/, DOWN + ENTER);
    // Now only rows of down are left out, and what the streams lose is counted.
    await terminal.answer(/lost of streams.*\* +40 % +80\.0 %.*another target/s, `other layers${ENTER}`);
    await terminal.answer(/Layers that stay dense/, `0,11${ENTER}`);
    await terminal.answer(/\* +40 % +83\.3 %.*another target/s, ENTER);
    await terminal.answer(/int8, 40\.0 % of neurons kept.*statistics \(kept\).*Begin/s, `No${ENTER}`);
    expect(await terminal.end()).toBe(0);
    expect(terminal.answers('\\*').map(([, answer]) => answer)).toEqual([
      ...['a sparse model by top-k', 'int8', 'those of the package', 'none', 'another target', '0.4'],
      ...['another score of neurons', 'product', 'other layers', '0,11', '40 %', 'no, only print the command'],
    ]);
    expect(tooLong(terminal)).toEqual([]);
    // Nothing but the spinner of a job is more than ASCII.
    const drawn = terminal.lines().filter((line) => !line.includes('alibrat'));
    expect([...drawn.join('')].filter((character) => character > '~')).toEqual([]);
    // What was measured is kept for the build that is printed.
    expect(readdirSync(cwd).sort()).toEqual(['out.build', 'tiny']);
    expect(
      terminal
        .lines()
        .join('\n')
        .replaceAll(/ \\\n */g, ' '),
    ).toContain(
      'lacuna build tiny -o out --tokens 1100 --preset top-k --keep 0.4 --measure product --dense-layers 0,11 --dtype int8 --host native --threads 1',
    );
  });

  it('says where it can be mended that nothing pays in stock ONNX Runtime', async () => {
    const terminal = wizard(place('unpaid'), ['tiny', '--preset', 'top-k', '--dtype', 'int8', '--host', 'stock']);
    await terminal.answer(/Which texts/, ENTER);
    await terminal.answer(/Perplexity to allow/, ENTER);
    await terminal.answer(/Folder to make/, ENTER);
    await terminal.shows(/blocks of 128x384 in int8 are expected to take.*What to make/s);
    terminal.type(CTRL_C);
    expect(await terminal.end()).toBe(130);
    expect(tooLong(terminal)).toEqual([]);
  });

  it.each<[string, (cwd: string) => string, RegExp]>([
    [
      'an adapter',
      () => join(root, 'fixtures/lora/plain'),
      /is an adapter.*merged\s+into\s+the\s+checkpoint.*Checkpoint/s,
    ],
    [
      'a plan',
      (cwd) => {
        writeFileSync(join(cwd, 'x.json'), '{"format": "lacuna.host"}');
        return 'x.json';
      },
      /x\.json is neither/,
    ],
    ['a name that is none', () => '~/nowhere', /Nothing at \/.*nowhere/],
    [
      'a checkpoint that cannot be converted',
      () => join(root, 'fixtures/hostile/checkpoints/missing-shards'),
      /cannot be converted/,
    ],
    [
      'one without a tokenizer',
      (cwd) => {
        rmSync(join(cwd, 'tiny/tokenizer.json'));
        return 'tiny';
      },
      /No tokenizer\.json in tiny/,
    ],
  ])('asks for the checkpoint again after %s', async (name, path, message) => {
    const cwd = place(name, true);
    const terminal = wizard(cwd);
    await terminal.answer(/Checkpoint /, path(cwd) + ENTER);
    await terminal.shows(message);
    terminal.type(CTRL_C);
    expect(await terminal.end()).toBe(130);
    expect(terminal.raw).not.toMatch(/ at .*\.js:\d+/);
  });

  it('asks for another folder where the one that is there cannot be replaced', async () => {
    const cwd = place('stranger');
    mkdirSync(join(cwd, 'mine'));
    writeFileSync(join(cwd, 'mine/thesis.txt'), 'mine');
    const terminal = wizard(cwd, ['tiny', '-o', 'mine', '--host', 'stock']);
    await terminal.answer(/What to make/, ENTER);
    await terminal.answer(/Which texts/, ENTER);
    await terminal.answer(/Budget /, ENTER);
    await terminal.answer(/mine exists/, DOWN + ENTER);
    await terminal.answer(/mine is not replaced: it\s+holds\s+no\s+lacuna\.json.*Folder to make/s, ENTER);
    await terminal.answer(/Nothing stands in the way of \.\/tiny-fast.*Begin/s, CTRL_C);
    expect(await terminal.end()).toBe(130);
    expect(readdirSync(join(cwd, 'mine'))).toEqual(['thesis.txt']);
  });

  it('asks for the texts again where two of them share a document', async () => {
    const cwd = place('own texts');
    for (const name of ['fit.txt', 'choose.txt']) cpSync(join(texts, name), join(cwd, name));
    const terminal = wizard(cwd, ['tiny', '--host', 'stock']);
    await terminal.answer(/What to make/, ENTER);
    await terminal.answer(/Which texts/, DOWN + ENTER);
    await terminal.answer(/Files to calibrate/, `fit.txt${ENTER}`);
    await terminal.answer(/Files to choose/, `choose.txt${ENTER}`);
    await terminal.answer(/Files to take the figures/, `fit.txt${ENTER}`);
    await terminal.answer(/fit\.txt.*Which texts/s, CTRL_C);
    expect(await terminal.end()).toBe(130);
  });

  it('looks a name up, and downloads nothing before it may', async () => {
    const files = Object.fromEntries(
      ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'].map((name) => [
        name,
        readFileSync(join(tinyLlama, name)),
      ]),
    );
    const server = await startHubDouble({ 'org/model': { files, large: ['model.safetensors'] } });
    const cwd = place('hub');
    const env = { HF_ENDPOINT: server.endpoint, LACUNA_CACHE: join(cwd, 'cache') };
    const terminal = wizard(cwd, ['--host', 'stock'], env);
    await terminal.answer(/Checkpoint /, `org/model${ENTER}`);
    await terminal.answer(/org\/model on the Hub: 4 files\..*Download \d\.\d MB now/s, DOWN + ENTER);
    await terminal.shows(/Checkpoint /);
    expect(existsSync(join(cwd, 'cache'))).toBe(false);
    terminal.type(`org/model${ENTER}`);
    await terminal.answer(/Download \d\.\d MB now/, ENTER);
    await terminal.answer(/Downloading org\/model.*12 layers, hidden 128.*What to make/s, CTRL_C);
    expect(await terminal.end()).toBe(130);
    server.close();
    expect(terminal.lines().join('\n')).toMatch(/^lacuna wizard org\/model /m);
    expect(existsSync(join(cwd, 'cache'))).toBe(true);
    expect(tooLong(terminal)).toEqual([]);
  });

  it('merges an adapter into the checkpoint that it is for', async () => {
    const cwd = place('merged');
    const terminal = wizard(cwd, [], {});
    await terminal.answer(/Checkpoint /, join(root, 'fixtures/lora/plain') + ENTER);
    await terminal.answer(/is an adapter.*Checkpoint /s, `tiny${ENTER}`);
    await terminal.shows(/What to make/);
    terminal.type(CTRL_C);
    expect(await terminal.end()).toBe(130);
    expect(terminal.lines().join(' ')).toMatch(/--adapter \S+lora\/plain/);
  });
});

describe.runIf(hasTerminal)('a session that is cut short', { timeout: 180_000 }, () => {
  it('by Ctrl-C at a question says how to go on, with the answers so far', async () => {
    const cwd = place('left');
    const terminal = wizard(cwd, ['--host', 'stock']);
    await terminal.answer(/Checkpoint /, `tiny${ENTER}`);
    await terminal.answer(/What to make/, ENTER);
    await terminal.answer(/Which texts/, ENTER);
    await terminal.answer(/Budget /, `kl<=0.05${ENTER}`);
    await terminal.answer(/Folder to make/, CTRL_C);
    expect(await terminal.end()).toBe(130);
    const shown = terminal
      .lines()
      .join('\n')
      .replaceAll(/ \\\n */g, ' ');
    expect(shown).toContain(
      "and asks again for the texts:\nlacuna wizard tiny --tokens 1100 --budget 'kl<=0.05' --host stock --threads 1",
    );
    expect(readdirSync(cwd)).toEqual(['tiny']);
  });

  it.runIf(required)('by Ctrl-C while it builds leaves what is measured, and the command goes on', async () => {
    const cwd = place('stopped');
    const terminal = wizard(cwd, ['tiny', '-o', 'out', '--host', 'stock', '--budget', 'ppl<=30%']);
    await terminal.answer(/Which texts/, ENTER);
    await terminal.answer(/Begin/, ENTER);
    await terminal.shows(/Drawing tokens/);
    terminal.type(CTRL_C);
    expect(await terminal.end()).toBe(130);
    const shown = terminal
      .lines()
      .join('\n')
      .replaceAll(/ \\\n */g, ' ');
    const command = "lacuna build tiny -o out --tokens 1100 --budget 'ppl<=30%' --host stock --threads 1";
    expect(shown).toContain(`This goes on where it stopped:\n${command}`);
    expect(readdirSync(cwd).sort()).toEqual(['out.build', 'tiny']);
    const { code, stderr } = await lacuna([
      'build',
      join(cwd, 'tiny'),
      '-o',
      join(cwd, 'out'),
      '--budget',
      'ppl<=30%',
      '--host',
      'stock',
      ...FEW,
    ]);
    expect([code, /Continuing with/.test(stderr), /Calibrating/.test(stderr)]).toEqual([0, true, false]);
  });

  it.each([
    ['a question', /Checkpoint /],
    ['a choice', /What to make/],
  ])('by a terminal that closes at %s ends without a trace', async (_, moment) => {
    const cwd = place(`closed at ${_}`);
    const terminal = wizard(cwd, moment.test('Checkpoint ') ? [] : ['tiny']);
    await terminal.shows(moment);
    terminal.hangUp();
    // By SIGHUP.
    expect(await terminal.end()).toBe(129);
    expect(readdirSync(cwd)).toEqual(['tiny']);
  });

  it('by a checkpoint that goes away between questions asks for it again', async () => {
    const cwd = place('gone', true);
    const terminal = wizard(cwd, ['tiny', '--host', 'stock']);
    await terminal.answer(/What to make/, ENTER);
    await terminal.shows(/Which texts/);
    renameSync(join(cwd, 'tiny'), join(cwd, 'elsewhere'));
    terminal.type(ENTER);
    await terminal.answer(/Nothing at tiny.*Checkpoint /s, `elsewhere${ENTER}`);
    await terminal.shows(/Budget /);
    terminal.type(CTRL_C);
    expect(await terminal.end()).toBe(130);
    expect(terminal.lines().join('\n')).toContain('lacuna wizard elsewhere --tokens 1100');
  });
});

describe('without a terminal', () => {
  it('is refused, with the command that needs none', async () => {
    const { code, stderr } = await lacuna(['wizard', tinyLlama]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/there is no terminal/);
    expect(stderr).toMatch(/lacuna build CHECKPOINT -o DIR --budget "ppl<=1\.02"/);
  });
});
