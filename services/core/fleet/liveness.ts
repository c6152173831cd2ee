/** What an observer thinks of an agent. `stalled`, `parked` and `gone` want evidence beyond beats. */
export const VERDICTS = ['alive', 'late', 'silent', 'stalled', 'parked', 'gone'] as const
export type Verdict = (typeof VERDICTS)[number]

export interface AgentVerdict {
  readonly agent: string
  readonly verdict: Verdict
  /** Since when, milliseconds since 1970 by the watchdog's wall clock: for people to read. */
  readonly since: number
  readonly host: string | null
}
