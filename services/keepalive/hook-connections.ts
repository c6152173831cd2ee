import type { Socket } from 'node:net'

/**
 * The connections of hooks, of which any user of this machine may open some. When there are too many the one goes that has been of no
 * use for longest: first of those by which nobody has proved to know the secret yet, then of those that wait for another request. One
 * whose request is being answered stays.
 */
export class HookConnections {
  readonly #max: number
  /** Each in the order in which its last use began. */
  readonly #unproven = new Set<Socket>()
  readonly #idle = new Set<Socket>()
  readonly #answering = new Set<Socket>()

  constructor(max: number) {
    this.#max = max
  }

  add(socket: Socket): void {
    this.#unproven.add(socket)
    socket.once('close', () => this.#forget(socket))
    if (this.#unproven.size + this.#idle.size + this.#answering.size > this.#max) this.#drop()
  }

  /** A request that came by it proves to know the secret. */
  begin(socket: Socket): void {
    this.#forget(socket)
    if (!socket.destroyed) this.#answering.add(socket)
  }

  /** That request was answered. */
  end(socket: Socket): void {
    if (this.#answering.delete(socket)) this.#idle.add(socket)
  }

  #drop(): void {
    const [oldest] = this.#unproven.size > 0 ? this.#unproven : this.#idle
    if (oldest === undefined) return
    this.#forget(oldest)
    oldest.destroy()
  }

  #forget(socket: Socket): void {
    for (const some of [this.#unproven, this.#idle, this.#answering]) some.delete(socket)
  }
}
