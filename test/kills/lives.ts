import { setTimeout as sleep } from 'node:timers/promises'
import type { Dice } from '../simulation/chance.ts'
import type { FleetProgram } from './fleet-program.ts'

/** How long a life lasts before it is killed, milliseconds. */
export type Span = readonly [least: number, most: number]

/** Half of all lives end while the program starts. */
const STARTING: Span = [0, 400]
const RUNNING: Span = [300, 1_000]
/** A bridge believes no signature of its first two seconds: only a longer life gets work done. */
const SERVING: Span = [2_500, 4_500]

/** What was killed, how often, and what ended by itself. */
export class Toll {
  readonly #wanted: number
  readonly #kills = new Map<string, number>()
  readonly odd: string[] = []

  constructor(wanted: number) {
    this.#wanted = wanted
  }

  add(program: string): void {
    this.#kills.set(program, (this.#kills.get(program) ?? 0) + 1)
  }

  get sum(): number {
    return [...this.#kills.values()].reduce((sum, count) => sum + count, 0)
  }

  get isFull(): boolean {
    return this.sum >= this.#wanted
  }

  of(program: string): number {
    return this.#kills.get(program) ?? 0
  }

  inWords(): string {
    return [...this.#kills].map(([program, count]) => `${program} ${count}`).join(', ')
  }
}

/** Has a program live and die until enough were killed, and leaves its last life running. */
export async function killAgainAndAgain(program: FleetProgram, dice: Dice, toll: Toll): Promise<void> {
  const running = program.plan.program === 'bridge' ? SERVING : RUNNING
  while (!toll.isFull) {
    const ended = program.start()
    const span = dice.chance(0.5) ? STARTING : running
    const early = await Promise.race([ended, sleep(dice.between(...span)).then(() => null)])
    if (early !== null) {
      toll.odd.push(`${program.name} ended by itself: ${early}`)
      continue
    }
    program.signal('SIGKILL')
    await ended
    toll.add(program.plan.program)
  }
  void program.start()
}
