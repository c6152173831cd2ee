/** A mutant that no test kills, and why that is no gap. It is named by what stands there, since lines move. */
export interface Survivor {
  /** Below services/, without its ending. */
  readonly file: string
  readonly inside: string
  readonly from: string
  readonly to: string
  readonly why: string
}

export const SURVIVORS: readonly Survivor[] = []
