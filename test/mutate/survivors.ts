/** A mutant that no test kills, and why that is no gap. It is named by what stands there, since lines move. */
export interface Survivor {
  /** Below services/, without its ending. */
  readonly file: string
  readonly inside: string
  readonly from: string
  readonly to: string
  readonly why: string
}

/** Rights of a minute that end a millisecond early or late: no clock here is as exact. */
const ONE_MS = 'a millisecond more or less of a lease of seconds is nothing that a holder or an observer could see'

export const SURVIVORS: readonly Survivor[] = [
  {
    file: 'worker/lease-renewer',
    inside: '(top)',
    from: '0',
    to: '1',
    why: 'the pause is read after a failure alone, and each failure sets it',
  },
  { file: 'worker/lease-renewer', inside: 'status', from: '0', to: '1', why: ONE_MS },
  { file: 'worker/lease-renewer', inside: 'waitMs', from: '0', to: '1', why: ONE_MS },
  { file: 'worker/lease-renewer', inside: 'askOnce', from: '0', to: '1', why: ONE_MS },
  {
    file: 'worker/lease-renewer',
    inside: '(top)',
    from: 'await this.#done',
    to: ';',
    why: 'the signal ends the loop in the same turn; only the end of that turn is not waited for',
  },
]
