/** A stretch of network between hosts and a bridge, with weather. */

import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

export class Weather implements AsyncDisposable {
  readonly #server: Server
  readonly #pairs = new Set<readonly [near: Socket, far: Socket]>()
  /** Nothing passes any more, in either direction; nobody is told. */
  #frozen = false
  /** Answers are lost from now on: each connection breaks when one comes. */
  losesAnswers = false
  connections = 0

  private constructor(port: number, isAllowed: (firstBytes: string) => boolean) {
    this.#server = createServer((near) => {
      this.connections += 1
      const far = connect({ host: '127.0.0.1', port })
      const pair = [near, far] as const
      this.#pairs.add(pair)
      const end = (): void => {
        this.#pairs.delete(pair)
        near.destroy()
        far.destroy()
      }
      for (const side of pair) side.on('error', end).on('close', end)
      near.once('data', (bytes) => {
        if (!isAllowed(String(bytes)))
          near.end('HTTP/1.1 501 Not Implemented\r\nconnection: close\r\ncontent-length: 0\r\n\r\n')
      })
      near.on('data', (bytes) => {
        if (!this.#frozen) far.write(bytes)
      })
      far.on('data', (bytes) => {
        if (this.losesAnswers) end()
        else if (!this.#frozen) near.write(bytes)
      })
    })
  }

  static async open(port: number, isAllowed: (firstBytes: string) => boolean = () => true): Promise<Weather> {
    const weather = new Weather(port, isAllowed)
    weather.#server.listen({ host: '127.0.0.1', port: 0 })
    await once(weather.#server, 'listening')
    return weather
  }

  get url(): string {
    const address = this.#server.address()
    return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
  }

  freeze(): void {
    this.#frozen = true
  }

  thaw(): void {
    this.#frozen = false
    this.cut()
  }

  /** Breaks every connection that is open. */
  cut(): void {
    for (const [near] of this.#pairs) near.resetAndDestroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut()
    this.#server.close()
    await once(this.#server, 'close')
  }
}
