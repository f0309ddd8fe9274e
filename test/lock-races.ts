/** Several processes take one stale lock at the same moment, again and again: how often did more than one get it? */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { THIS_PROCESS } from '../formats/process.ts';
import { bundle } from './bundle.ts';
import type { Answer, Order } from './lock-contender.ts';

export interface LockRaces {
  readonly rounds: number;
  /** Contenders of each round. */
  readonly processes: number;
  /** Kills one contender in each round, at a moment that this number from 0 to 1 chooses, and starts another one. */
  readonly killAt?: () => number;
}

export interface LockRacesResult {
  /** How often so many held the lock at once: index 0 for nobody, 1 as it should be, 2 and more never. */
  readonly holders: readonly number[];
  /** What is left in the lock's folder after the last holder has ended. */
  readonly left: readonly string[];
}

/** Ids on Linux are below 2^22: this one is nobody's. */
const NOBODY = 2 ** 30;

/** What a lock may hold whose maker is gone, or which is none of ours. */
export const STALE_LOCKS: readonly string[] = [
  JSON.stringify({ ...THIS_PROCESS, pid: NOBODY, nonce: 'a' }),
  // A process that got the id of one that died: this one runs, but it began at another time.
  ...(THIS_PROCESS.started === 0 ? [] : [JSON.stringify({ ...THIS_PROCESS, started: 1, nonce: 'b' })]),
  JSON.stringify({ ...THIS_PROCESS, host: '00000000', nonce: 'c' }),
  JSON.stringify({ ...THIS_PROCESS, pid: 0 }),
  JSON.stringify({ ...THIS_PROCESS, pid: -1 }),
  JSON.stringify({ ...THIS_PROCESS, pid: '1' }),
  JSON.stringify({ host: hostname(), pid: 1 }),
  'null',
  '[]',
  '7',
  '"text"',
  '{"ho',
  '',
  '\0'.repeat(5000),
];

/** Runs the races in a folder of their own. */
export async function raceLocks({ rounds, processes, killAt }: LockRaces): Promise<LockRacesResult> {
  const folder = mkdtempSync(join(tmpdir(), 'lacuna-locks-'));
  const program = await bundle('test/lock-contender.ts', folder);
  const place = mkdtempSync(join(folder, 'place-'));
  const lock = join(place, 'out.lock');
  const contenders = await Promise.all(Array.from({ length: processes }, () => startContender(program)));
  const holders = Array.from({ length: processes + 1 }, () => 0);
  try {
    for (let round = 0; round < rounds; round++) {
      writeFileSync(lock, STALE_LOCKS[round % STALE_LOCKS.length]);
      holders[await oneRace(contenders, lock, killAt)] += 1;
      if (killAt === undefined) continue;
      contenders[0] = await startContender(program);
      contenders.push(contenders.shift() as ChildProcess);
    }
    // What killed contenders left is the next one's to remove.
    await oneRace([contenders[1]], lock, undefined);
    return { holders, left: readdirSync(place) };
  } finally {
    for (const contender of contenders) contender.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}

async function startContender(program: string): Promise<ChildProcess> {
  const contender = fork(program, { stdio: 'ignore' });
  await once(contender, 'message');
  return contender;
}

/** How many held the lock at once: each holds it until all have answered. The first contender may be killed meanwhile. */
async function oneRace(
  contenders: readonly ChildProcess[],
  lock: string,
  killAt: (() => number) | undefined,
): Promise<number> {
  const answers = contenders.map((contender) => nextAnswer(contender));
  for (const contender of contenders) send(contender, { order: 'take', path: lock });
  if (killAt !== undefined) setTimeout(() => contenders[0].kill('SIGKILL'), 10 * killAt());
  const given = await Promise.all(answers);
  const failure = given.find((answer) => answer.startsWith('failed'));
  if (failure !== undefined) throw new Error(failure);
  // Whoever was to be killed is no holder any more: others may have taken its lock over.
  if (killAt !== undefined && contenders[0].exitCode === null && contenders[0].signalCode === null)
    await once(contenders[0], 'exit');
  const holding = contenders.filter((contender, index) => given[index] === 'holding' && contender.connected);
  for (const contender of holding) {
    const freed = nextAnswer(contender);
    send(contender, { order: 'release' });
    await freed;
  }
  return holding.length;
}

function send(contender: ChildProcess, order: Order): void {
  contender.send(order);
}

/** A contender that is killed answers nothing: that counts as a refusal. */
function nextAnswer(contender: ChildProcess): Promise<Answer> {
  return new Promise((resolve) => {
    const onMessage = (answer: Answer) => {
      contender.off('exit', onExit);
      resolve(answer);
    };
    const onExit = () => {
      contender.off('message', onMessage);
      resolve('refused');
    };
    contender.once('message', onMessage);
    contender.once('exit', onExit);
  });
}
