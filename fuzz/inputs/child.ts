/**
 * Runs cases of `inputs`. Arguments: the folder of the seeds, one to work in, the seed, numbers of changes to leave out,
 * and those of `serve`.
 */
import { join } from 'node:path';
import { serve } from '../harness/serve.ts';
import { chooseCase, filesOfCase, runCase, soundFiles, withoutMutations } from './case.ts';

const [seeds, work, seed, without, ...range] = process.argv.slice(2);
const sound = soundFiles(seeds);

await serve(range, async (index) => {
  const one = withoutMutations(chooseCase(Number(seed), index, sound), without.split(',').filter(Boolean).map(Number));
  return runCase(one, filesOfCase(one, sound(one.kind.folder)), seeds, join(work, String(index)));
});
