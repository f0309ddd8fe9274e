/** The command that runs one case again. */
export function replayCommand(campaign: string, seed: number, index: number | string): string {
  return `npm run fuzz -- --only ${campaign} --seed ${seed} --from ${index} --cases 1`;
}
