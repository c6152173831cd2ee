/** Waits that were measured, as many as come. */
export class Samples {
  #values = new Float64Array(1 << 16)
  #count = 0

  add(ms: number): void {
    if (this.#count === this.#values.length) {
      const larger = new Float64Array(this.#values.length * 2)
      larger.set(this.#values)
      this.#values = larger
    }
    this.#values[this.#count] = ms
    this.#count += 1
  }

  all(): Float64Array {
    return this.#values.slice(0, this.#count)
  }
}
