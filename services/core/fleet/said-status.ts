/** What an agent may say that it does, as the Python bridge has it. */
export const SAID_STATUSES = ['working', 'waiting', 'blocked', 'complete'] as const
export type SaidStatus = (typeof SAID_STATUSES)[number]

/** What an agent said last that it does. Agents of the Python bridge may say other words than `SAID_STATUSES`. */
export interface LastStatus {
  readonly status: string
  /** When it was heard last, whatever it said then: milliseconds since 1970 by the clock of whoever heard it. */
  readonly heardAt: number
}

/** What is shown of an agent that is heard and never said what it does. */
export const UNSAID_STATUS: SaidStatus = 'working'
/** An agent that was heard within this time is alive for its partner, milliseconds: as the Python bridge counts. */
export const ALIVE_MS = 120_000
