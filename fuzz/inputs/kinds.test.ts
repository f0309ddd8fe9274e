/** Unchanged inputs succeed in every use. If they failed for another reason, a case would test nothing. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { root, temporaryFolder } from '../../test/temporary.ts';
import { chooseCase, filesOfCase, soundFiles } from './case.ts';
import { writeInput } from './files.ts';
import { KINDS } from './kinds.ts';
import { makeSeeds } from './seeds.ts';

const folder = temporaryFolder();
const seeds = join(folder, 'seeds');
const sound = soundFiles(seeds);

beforeAll(() => makeSeeds(seeds, join(root, 'fixtures')), 60_000);

const uses = KINDS.flatMap((kind) => kind.uses.map((use) => ({ kind, use })));

test.each(uses.map((one, i) => [`${one.kind.name}: ${one.use.name}`, one, i] as const))('%s', async (_, one, i) => {
  const place = join(folder, String(i));
  writeInput(sound(one.kind.folder), join(place, 'input'));
  const outcome = await one.use.run({ input: join(place, 'input'), seeds, output: join(place, 'output.json') });
  expect(outcome).toEqual({ fault: undefined, succeeded: true });
});

test('a case is the same whenever it is made, and another by another seed', () => {
  const made = (seed: number, index: number) => {
    const one = chooseCase(seed, index, sound);
    const hash = createHash('sha256');
    for (const [name, file] of filesOfCase(one, sound(one.kind.folder)))
      hash.update(name).update('bytes' in file ? file.bytes : file.kind);
    return [one.kind.name, one.use.name, one.mutations, hash.digest('hex')];
  };
  for (let index = 0; index < 50; index++) expect(made(1, index)).toEqual(made(1, index));
  expect(made(1, 1)).not.toEqual(made(2, 1));
});
