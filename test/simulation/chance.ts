import type { Chance } from '#runtime/clock.ts'

/** Chance from a seed: the same one gives the same run, on every machine. */
export class Dice {
  readonly #state: Uint32Array

  constructor(seed: string) {
    this.#state = Uint32Array.of(fold(seed, 1), fold(seed, 2), fold(seed, 3), 1)
    for (let n = 0; n < 12; n += 1) this.next()
  }

  /** A number in [0, 1). The generator is sfc32 (Doty-Humphrey, PractRand), which passes the usual tests. */
  readonly next: Chance = () => {
    const state = this.#state
    const [a = 0, b = 0, c = 0, count = 0] = state
    const sum = (a + b + count) >>> 0
    state[0] = b ^ (b >>> 9)
    state[1] = c + (c << 3)
    state[2] = ((c << 21) | (c >>> 11)) + sum
    state[3] = count + 1
    return sum / 2 ** 32
  }

  /** True so often. */
  chance(probability: number): boolean {
    return this.next() < probability
  }

  between(least: number, most: number): number {
    return least + this.next() * (most - least)
  }

  whole(least: number, most: number): number {
    return Math.floor(this.between(least, most + 1))
  }

  pick<T>(items: readonly T[]): T {
    return items[this.whole(0, items.length - 1)] as T
  }

  /** So many of them, each once. */
  some<T>(items: readonly T[], count: number): T[] {
    const left = [...items]
    return Array.from({ length: Math.min(count, left.length) }, () => {
      return left.splice(this.whole(0, left.length - 1), 1)[0] as T
    })
  }

  /** Most waits are short and a few are long: the exponential distribution. */
  wait(meanMs: number): number {
    return -Math.log(1 - this.next()) * meanMs
  }
}

/** FNV-1a. */
function fold(text: string, basis: number): number {
  let hash = 0x811c9dc5 ^ Math.imul(basis, 0x9e3779b9)
  for (let n = 0; n < text.length; n += 1) hash = Math.imul(hash ^ text.charCodeAt(n), 0x01000193)
  return hash >>> 0
}
