import { writeFileSync } from 'node:fs'

/** One thing that was measured, beside what it may take at most. Seconds. */
interface Row {
  readonly what: string
  readonly measured: number
  readonly ours: number | null
  readonly protocol: number | null
}

/**
 * What we promise is kept by a machine that runs. One whose disk stalls, or that others keep busy, is forgiven so much, seconds;
 * the table says so.
 */
const HICCUP = 10

/** What the protocol asks for, seconds. */
export const PROTOCOL = { detect: 120, reassign: 60, credentials: 120, recovery: 300 } as const

/** The figures of one run, beside the targets. */
export class Table {
  readonly #rows: Row[] = []

  /** Notes a time (given in milliseconds); answers whether it is within both bounds, a hiccup of ours forgiven. */
  note(what: string, ms: number, ours: number | null, kind: keyof typeof PROTOCOL | null): boolean {
    const measured = Math.round(ms) / 1000
    const protocol = kind === null ? null : PROTOCOL[kind]
    this.#rows.push({ what, measured, ours, protocol })
    return measured <= (ours ?? Number.POSITIVE_INFINITY) + HICCUP && measured <= (protocol ?? Number.POSITIVE_INFINITY)
  }

  print(): void {
    const bound = (seconds: number | null): string => (seconds === null ? '' : `≤${seconds} s`).padStart(8)
    console.log(`\n${'measured'.padStart(10)} ${'ours'.padStart(8)} ${'protocol'.padStart(8)}`)
    for (const { what, measured, ours, protocol } of this.#rows) {
      const late = measured > (ours ?? Number.POSITIVE_INFINITY) ? ' (later than promised)' : ''
      console.log(`${`${measured.toFixed(2)} s`.padStart(10)} ${bound(ours)} ${bound(protocol)}  ${what}${late}`)
    }
  }

  save(path: string): void {
    writeFileSync(path, `${JSON.stringify({ unit: 's', rows: this.#rows }, null, 2)}\n`)
  }
}
