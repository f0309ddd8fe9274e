/** `npm run fuzz`: runs the campaigns one after the other, with one line for each, and a summary. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { parseArgs } from 'node:util';
import { type CampaignOptions, type Failure, replayCommand } from './campaign.ts';
import { repository } from './harness/paths.ts';
import { CAMPAIGNS } from './index.ts';

const USAGE = `npm run fuzz -- [--minutes N] [--cases N] [--seed S] [--only name,...] [--from CASE]

  --minutes N  how long all campaigns take together (default: 2; without an end where --cases is given)
  --cases N    how many cases each campaign runs at most
  --seed S     a number that all cases follow from (default: chosen, and printed)
  --only ...   some of the campaigns: ${CAMPAIGNS.map(({ name }) => name).join(', ')}
  --from CASE  the first case, to run one again`;

/** Exit codes. */
const [FOUND, USAGE_ERROR, STOPPED] = [1, 2, 130];

interface Options extends Omit<CampaignOptions, 'log' | 'signal'> {
  readonly campaigns: typeof CAMPAIGNS;
}

function optionsOf(args: readonly string[]): Options {
  const names = ['minutes', 'cases', 'seed', 'only', 'from'] as const;
  const options = Object.fromEntries(names.map((name) => [name, { type: 'string' as const }]));
  const values = parseArgs({ args: [...args], options }).values as Partial<Record<(typeof names)[number], string>>;
  const number = (name: (typeof names)[number]): number | undefined => {
    const text = values[name];
    if (text === undefined) return undefined;
    const value = Number(text);
    if (text === '' || !(value >= 0)) throw new RangeError(`--${name} takes a number but was given "${text}"`);
    return value;
  };
  const only = values.only?.split(',') ?? CAMPAIGNS.map(({ name }) => name);
  const unknown = only.find((name) => !CAMPAIGNS.some((campaign) => campaign.name === name));
  if (unknown !== undefined) throw new RangeError(`There is no campaign "${unknown}"`);
  return {
    minutes: number('minutes') ?? (values.cases === undefined ? 2 : Number.POSITIVE_INFINITY),
    cases: number('cases') ?? Number.POSITIVE_INFINITY,
    from: number('from') ?? 0,
    seed: number('seed') ?? Math.floor(Math.random() * 1e6),
    campaigns: CAMPAIGNS.filter(({ name }) => only.includes(name)),
  };
}

/** Runs what the arguments ask for. Returns the exit code. */
async function fuzz({ minutes, cases, from, seed, campaigns }: Options, signal: AbortSignal): Promise<number> {
  const started = performance.now();
  const minutesLeft = () => minutes - (performance.now() - started) / 60_000;
  const files: string[] = [];
  let all = 0;
  console.log(`seed ${seed}`);
  for (const [i, { name, share, run }] of campaigns.entries()) {
    if (signal.aborted) break;
    const shares = campaigns.slice(i).reduce((sum, other) => sum + other.share, 0);
    const begun = performance.now();
    const result = await run({
      // Unused time goes to the next campaigns.
      minutes: Math.max(0, (minutesLeft() * share) / shares),
      cases,
      from,
      seed,
      signal,
      log: (line: string) => console.log(`  ${name}: ${line}`),
    });
    const seconds = (performance.now() - begun) / 1000;
    const rate = (result.cases / seconds).toPrecision(3);
    console.log(
      `${name}: ${result.cases} cases in ${seconds.toFixed(1)} s (${rate} a second), ${result.failures.length} failures`,
    );
    all += result.cases;
    files.push(...result.failures.map((failure) => failure.file ?? writeFailure(name, seed, failure)));
  }
  console.log(`\n${all} cases, ${files.length} failures, seed ${seed}`);
  for (const file of files) console.log(`  ${file}`);
  if (signal.aborted) return STOPPED;
  return files.length > 0 ? FOUND : 0;
}

function writeFailure(campaign: string, seed: number, failure: Failure): string {
  const file = repository('.fuzz', `${campaign}-${seed}-${failure.case}`);
  mkdirSync(repository('.fuzz'), { recursive: true });
  writeFileSync(file, `${failure.why}\n\nAgain: ${replayCommand(campaign, seed, failure.case)}\n`);
  return relative(repository(), file);
}

const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.on(name, () => {
    // The first signal ends a campaign after its present case. A second one ends it at once.
    if (stop.signal.aborted) process.exit(STOPPED);
    stop.abort();
  });
}
let options: Options | undefined;
try {
  options = optionsOf(process.argv.slice(2));
} catch (error) {
  console.error(`${(error as Error).message}\n\n${USAGE}`);
  process.exitCode = USAGE_ERROR;
}
if (options !== undefined) process.exitCode = await fuzz(options, stop.signal);
