/** What a campaign is: cases by number, each of which ends well or is a failure. */

export interface CampaignOptions {
  /** Ends after so long, or after so many cases: whichever comes first. */
  readonly minutes?: number;
  readonly cases?: number;
  /** The first case; those before it are left out. One failed case is run again so. */
  readonly from?: number;
  /** Case `n` of a seed is the same in every run of one version. */
  readonly seed: number;
  readonly log: (line: string) => void;
  readonly signal: AbortSignal;
}

export interface Failure {
  /** The number of the case, as a rule. */
  readonly case: string;
  readonly why: string;
  /** What makes it fail, where a file does. */
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

/** When a campaign that began now is over, by `performance.now()`. */
export function deadlineOf({ minutes = Number.POSITIVE_INFINITY }: CampaignOptions): number {
  return performance.now() + minutes * 60_000;
}

/** Further ones would say the same: a campaign that has found so many ends. */
const MOST_FAILURES = 20;

/** Runs case after case in this process until time, number or signal end it. A case fails by giving a reason. */
export async function eachCase(
  options: CampaignOptions,
  run: (index: number) => Promise<string | undefined>,
): Promise<CampaignResult> {
  const { from = 0, cases = Number.POSITIVE_INFINITY, log, signal } = options;
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
