/** Lays states of a disk, looks at them, and judges what is there by what was told before the power was lost. */
import { Disk, type DiskState, randomOf, statesOfNames } from './disk.ts'
import type { Journal } from './journal.ts'
import type { AnyScenario } from './scenario.ts'
import { StateFolder } from './state-folder.ts'

/** Every so many states one is opened by the program itself, which takes some hundred times as long. */
const STARTED_EVERY = 500

/** Some states of each of some cuts. */
export interface Order {
  readonly cuts: readonly number[]
  /** Numbers of states, as `Disk.stateOf` takes them; with the first come those of names, however many they are. */
  readonly first: number
  readonly end: number
}

export interface Fault {
  /** `CUT:STATE`, by which it is found again. */
  readonly at: string
  readonly sentences: readonly string[]
}

export interface Replayed {
  /** The keys of the states that were looked at. */
  readonly keys: readonly string[]
  /** The cuts that had any. */
  readonly cuts: readonly number[]
  readonly dropped: number
  readonly reordered: number
  readonly torn: number
  readonly faults: readonly Fault[]
}

/** The cuts of a journal: one before each step, and one after the last. */
export function cutsOf({ begin, steps }: Journal): number[] {
  return Array.from({ length: steps.length + 1 - begin }, (_, index) => begin + index)
}

export class Replay implements Disposable {
  readonly #scenario: AnyScenario
  readonly #disk: Disk
  readonly #folder: StateFolder
  readonly #seed: number
  readonly #seen = new Set<string>()
  /** What was found, by what a state settled to. */
  readonly #found = new Map<string, unknown>()

  constructor(scenario: AnyScenario, journal: Journal, folder: string, seed: number) {
    this.#scenario = scenario
    this.#disk = new Disk(journal)
    this.#folder = new StateFolder(folder)
    this.#seed = seed
  }

  async run({ cuts, first, end }: Order): Promise<Replayed> {
    const keys: string[] = []
    const faults: Fault[] = []
    const cutsWithStates = new Set<number>()
    const count = { dropped: 0, reordered: 0, torn: 0 }
    for (const at of cuts) {
      const cut = this.#disk.cutAt(at)
      const most = first === 0 ? Math.max(end, statesOfNames(cut)) : end
      for (let number = first; number < most; number += 1) {
        const state = this.#disk.stateOf(cut, number, this.#randomOf(at, number))
        if (this.#seen.has(state.key)) continue
        this.#seen.add(state.key)
        keys.push(state.key)
        cutsWithStates.add(at)
        count.dropped += Number(state.isDropped)
        count.reordered += Number(state.isReordered)
        count.torn += Number(state.isTorn)
        const sentences = await this.#faultsOf(state, cut.told)
        if (sentences.length > 0) faults.push({ at: `${at}:${number}`, sentences })
      }
    }
    return { keys, cuts: [...cutsWithStates], ...count, faults }
  }

  /** Lays one state, to be looked at by a person. */
  lay(at: number, number: number): void {
    this.#folder.lay(this.#disk.stateOf(this.#disk.cutAt(at), number, this.#randomOf(at, number)))
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]()
  }

  #randomOf(at: number, number: number) {
    return randomOf(this.#seed + at * 7_919 + number * 104_729)
  }

  async #faultsOf(state: DiskState, told: readonly unknown[]): Promise<string[]> {
    const { root } = this.#folder
    try {
      this.#folder.lay(state)
      const begun = this.#seen.size % STARTED_EVERY === 0 ? await this.#start(state, root, told) : []
      return [...begun, ...this.#scenario.judge(await this.#look(root), told)]
    } catch (error) {
      return [`it cannot be looked at: ${(error as Error).message}`]
    }
  }

  async #start(state: DiskState, root: string, told: readonly unknown[]): Promise<string[]> {
    if (this.#scenario.start === undefined) return []
    const sentences = await this.#scenario.start(root, told)
    this.#folder.lay(state)
    return sentences
  }

  async #look(root: string): Promise<unknown> {
    const digest = this.#scenario.settle?.(root)
    if (digest === undefined) return await this.#scenario.look(root)
    const known = this.#found.get(digest)
    if (known !== undefined) return known
    const found = await this.#scenario.look(root)
    this.#found.set(digest, found)
    return found
  }
}
