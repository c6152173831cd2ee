/** Tells the story with measured seconds, and keeps count of what was checked. */
export class Telling {
  readonly #began = performance.now()
  #passed = 0
  #failed = 0

  get failed(): number {
    return this.#failed
  }

  chapter(title: string): void {
    this.#line(`\n${title}`, false)
  }

  say(text: string): void {
    this.#line(text, true)
  }

  check(what: string, holds: boolean, otherwise = ''): void {
    if (holds) this.#passed += 1
    else this.#failed += 1
    this.#line(`${holds ? 'ok    ' : 'FAILED'}  ${what}${holds || otherwise === '' ? '' : `: ${otherwise}`}`, true)
  }

  /** The last line, alone, as every part of the checks has it. */
  end(): void {
    console.log(`\n${this.#passed} passed, ${this.#failed} failed`)
  }

  #line(text: string, timed: boolean): void {
    const s = ((performance.now() - this.#began) / 1000).toFixed(1)
    console.log(timed ? `${s.padStart(6)} s  ${text}` : text)
  }
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
