/** What the wizard finds out, and at which question it is mended. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { withLock } from '../../formats/lock.ts';
import { temporaryFolder, tinyLlama } from '../../test/temporary.ts';
import type { Terminal } from './draw.ts';
import { type Finding, find } from './find.ts';
import { runWizard } from './index.ts';
import { type Answers, learn, type State } from './state.ts';

const folder = temporaryFolder();

/** `said` gets what would stay on the screen. */
function findingOf(said: string[] = []): Finding {
  return {
    words: { checkpoint: () => 'a checkpoint', autoDryRun: () => '', dryRun: () => '', compared: [] },
    // No native core is there.
    surroundings: { nativeFolder: folder },
    home: '/home/someone',
    hasUnicode: false,
    say: (text) => said.push(text),
  };
}

const DENSE: Answers = { checkpoint: tinyLlama, goal: 'auto', host: 'stock', budget: 'ppl<=1.02', tokens: 1100 };

const known = (answers: Answers): State => learn({ answers, facts: {} }, 'texts', true);

describe('where the model is to decode', () => {
  it.each([
    ['what is asked for', 'native', 'native'],
    ['stock ONNX Runtime where there is nothing else', undefined, 'stock'],
  ] as const)('is %s', async (_, host, wanted) => {
    const { answers, facts } = await find('machine', { answers: { host }, facts: {} }, findingOf());
    expect([answers.host, facts.machine?.value.hasNative]).toEqual([wanted, false]);
  });
});

describe('an output that is there', () => {
  const stranger = join(folder, 'stranger');
  mkdirSync(stranger);
  writeFileSync(join(stranger, 'thesis.txt'), 'mine');
  const file = join(folder, 'file');
  writeFileSync(file, 'mine');

  it('may be replaced where it is a folder', async () => {
    const { answers, refusal } = await find('ready', known({ ...DENSE, output: stranger }), findingOf());
    expect(answers).toMatchObject({ output: stranger, taken: stranger });
    expect(refusal).toBeUndefined();
  });

  it.each([
    ['holds no output of ours', stranger, true, /is not replaced: it holds no lacuna\.json/],
    ['is a file', file, undefined, /is a file; a folder is to be written there/],
    ['is a file, with --force', file, true, /is a file; a folder is to be written there/],
  ])('is asked for anew where it %s', async (_, output, force, message) => {
    const { answers, refusal } = await find('ready', known({ ...DENSE, output, force }), findingOf());
    expect(refusal).toMatchObject({ question: 'output', message: expect.stringMatching(message) });
    expect(answers).toMatchObject({ output: undefined, force: undefined, taken: undefined });
  });

  it('is asked for anew where another run is at work', async () => {
    const output = join(folder, 'busy');
    const sparse: Answers = { ...DENSE, goal: 'top-k', dtype: 'fp32', budget: '', output };
    const { refusal } = await withLock(`${output}.build.lock`, output, () =>
      find('expected', known(sparse), findingOf()),
    );
    expect(refusal).toMatchObject({ question: 'output', message: expect.stringMatching(/Another run \(process/) });
  });
});

describe('a wizard whose user stops it', () => {
  it('finds out nothing more', async () => {
    const said: string[] = [];
    const terminal = { signal: AbortSignal.abort(), say: () => {} } as unknown as Terminal;
    await expect(
      runWizard({ ...DENSE, output: join(folder, 'none') }, terminal, findingOf(said)),
    ).rejects.toMatchObject({ code: 'interrupted' });
    expect(said).toEqual([expect.stringMatching(/^This goes on/)]);
  });
});
