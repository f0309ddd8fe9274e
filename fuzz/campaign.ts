/** A campaign: cases by number. Each case ends well or is a failure. */

export interface CampaignOptions {
  /** Ends after this time, or after this number of cases, whichever comes first. Either may be infinite. */
  readonly minutes: number;
  readonly cases: number;
  /** The first case; earlier ones are left out. One failed case is run again in this way. */
  readonly from: number;
  /** Case `n` of a seed is the same in every run of one version. */
  readonly seed: number;
  readonly log: (line: string) => void;
  readonly signal: AbortSignal;
}

export interface Failure {
  /** Usually the number of the case. */
  readonly case: string;
  readonly why: string;
  /** The file that makes it fail, if there is one. */
  readonly file?: string;
}

export interface CampaignResult {
  readonly cases: number;
  readonly failures: readonly Failure[];
}

export interface Campaign {
  readonly name: string;
  readonly run: (options: CampaignOptions) => Promise<CampaignResult>;
}

/** The end of a campaign that begins now, by `performance.now()`. */
export function deadlineOf({ minutes }: CampaignOptions): number {
  return performance.now() + minutes * 60_000;
}

/** The command that runs one case again. */
export function replayCommand(campaign: string, seed: number, index: number | string): string {
  return `npm run fuzz -- --only ${campaign} --seed ${seed} --from ${index} --cases 1`;
}

/** A campaign ends after this number of failures, because more would add nothing. */
const MOST_FAILURES = 20;

/** Runs case after case in this process until time, number or signal end it. A case fails by returning a reason. */
export async function eachCase(
  options: CampaignOptions,
  run: (index: number) => Promise<string | undefined>,
): Promise<CampaignResult> {
  const { from, cases, log, signal } = options;
  const deadline = deadlineOf(options);
  const failures: Failure[] = [];
  let index = from;
  const goesOn = () => performance.now() < deadline && failures.length < MOST_FAILURES && !signal.aborted;
  for (; index < from + cases && goesOn(); index++) {
    const why = await run(index);
    if (why === undefined || signal.aborted) continue;
    log(`case ${index}: ${why.split('\n')[0]}`);
    failures.push({ case: String(index), why });
  }
  return { cases: index - from, failures };
}
