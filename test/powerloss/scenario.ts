/** What a scenario is: something that a program does with its files, and what must hold after a loss of power. */

/** Notes something that the program was answered. It counts from this moment on. */
export type Tell<Word> = (word: Word) => void

export interface Scenario<Found = unknown, Word = unknown> {
  readonly name: string
  /** The module that exports it, for the process that plays it. */
  readonly module: string
  /** Why it cannot be played here; false where it can. */
  readonly whyNot?: string | false
  /** Lays what is there, and durable, before the record begins. */
  lay?(root: string): Promise<void>
  /** What the program does; it runs in a process of its own, which is recorded. */
  play(root: string, tell: Tell<Word>): Promise<void>
  /** It is killed right after its n-th record, for each n, and played a second time to its end; then the power is lost. */
  readonly isKilledFirst?: boolean
  /**
   * Brings the files of a state to rest, and answers a digest of them: states that come to the same are looked at once. Where it
   * is left out, each state is looked at by itself.
   */
  settle?(root: string): string
  /** What is there, by the code that reads it; may change the files. What it throws is a fault of the state. */
  look(root: string): Promise<Found>
  /** A sentence for each thing that was told and is not so. */
  judge(found: Found, told: readonly Word[]): string[]
  /** What a state looks like to the program itself when it starts; asked of a few states only, before they are settled. */
  start?(root: string, told: readonly Word[]): Promise<string[]>
}

/** A scenario among others, whatever it finds and tells. */
// biome-ignore lint/suspicious/noExplicitAny: what one scenario finds, no other judges
export type AnyScenario = Scenario<any, any>
