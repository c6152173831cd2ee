/** The faults that a world may meet, by what is broken. Each is counted when it really does something. */
export const FAULTS = [
  'request lost',
  'reply lost',
  'request repeated',
  'request delayed',
  'stream broken',
  'hint lost',
  'store refuses',
  'outcome unknown',
  'disk slow',
  'disk refuses',
  'partition',
  'partition outward',
  'partition inward',
  'mass partition',
  'bridge killed',
  'bridge stopped',
  'host killed',
  'host stopped',
  'host suspended',
  'host gone for good',
  'agent killed',
  'agent stopped',
  'agent killed by its task',
  'command hangs',
  'command fails at once',
  'report garbled',
  'place sick',
  'place parked',
  'keepalive killed',
  'keepalive stopped',
  'watchdog killed',
  'watchdog stopped',
  'watchdog suspended',
  'engine away',
  'engine hangs',
  'bridge away for half a day',
  'cred-sync away',
  'issuer away',
  'token rotated',
  'wall clock stepped',
  'wall clock flaps',
  'clocks an hour on',
  'host asleep at night',
  'fleet asleep at night',
  'everything asleep at night',
  'server asleep at night',
  'laptop asleep every night',
  'machine off over the weekend',
] as const

export type Fault = (typeof FAULTS)[number]

export class Tally {
  readonly #counts = new Map<Fault, number>()

  fired(fault: Fault): void {
    this.#counts.set(fault, this.of(fault) + 1)
  }

  of(fault: Fault): number {
    return this.#counts.get(fault) ?? 0
  }

  get counts(): Readonly<Partial<Record<Fault, number>>> {
    return Object.fromEntries(this.#counts)
  }
}
