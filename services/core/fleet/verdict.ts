/** What an observer thinks of an agent. `new`: it was never heard, so it is not lost either. `gone`: its death is proved. */
export const VERDICTS = ['new', 'alive', 'late', 'silent', 'gone'] as const
export type Verdict = (typeof VERDICTS)[number]

/** The verdicts that a roster passes: three by beats alone, and one by proof. */
export type RosterVerdict = Exclude<Verdict, 'new'>

export interface AgentVerdict {
  readonly agent: string
  readonly verdict: Verdict
  /** Since when, milliseconds since 1970 by the watchdog's wall clock: for people to read. */
  readonly since: number
  readonly host: string | null
}
