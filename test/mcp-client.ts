import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { LATE, waitAtMost } from '#runtime/bounded-wait.ts'
import { systemClock } from '#runtime/clock.ts'
import { mainOf } from './program.ts'
import { PATIENCE_MS } from './until.ts'

interface Answer {
  readonly id: number | null
  readonly result?: Record<string, unknown>
  readonly error?: { readonly code: number; readonly message: string }
}

/** What a tool answered, parsed. */
export interface Called {
  readonly isError: boolean
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it
  readonly said: any
}

/** A client of `s2 mcp`, which runs as a child of the process that asks. */
export class McpClient implements AsyncDisposable {
  readonly child: ChildProcess
  readonly ended: Promise<number | null>
  readonly #waiting = new Map<number, (answer: Answer) => void>()
  #last = 0
  /** All that came on standard output that is no answer to a request of ours. */
  readonly others: unknown[] = []

  constructor(settings: NodeJS.ProcessEnv, args: readonly string[] = [], cwd = process.cwd()) {
    this.child = spawn(process.execPath, [mainOf('cli'), 'mcp', ...args], {
      env: { PATH: process.env.PATH, ...settings },
      cwd,
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.ended = once(this.child, 'close').then(([code]) => code as number | null)
    if (this.child.stdout !== null) createInterface(this.child.stdout).on('line', (line) => this.#hear(line))
  }

  send(message: object): void {
    this.child.stdin?.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`)
  }

  async ask(method: string, params: object = {}): Promise<Answer> {
    this.#last += 1
    const id = this.#last
    const answered = Promise.withResolvers<Answer>()
    this.#waiting.set(id, answered.resolve)
    this.send({ id, method, params })
    const answer = await waitAtMost(answered.promise, PATIENCE_MS, systemClock)
    if (answer === LATE) throw new Error(`${method} was not answered`)
    return answer
  }

  async begin(revision = '2025-06-18'): Promise<Answer> {
    const clientInfo = { name: 'test', version: '1' }
    const answer = await this.ask('initialize', { protocolVersion: revision, capabilities: {}, clientInfo })
    this.send({ method: 'notifications/initialized' })
    return answer
  }

  /** Calls a tool. `meta`: what a client says beside its arguments. */
  async call(name: string, input: object = {}, meta?: object): Promise<Called> {
    const said = meta === undefined ? {} : { _meta: meta }
    const { result, error } = await this.ask('tools/call', { name, arguments: input, ...said })
    if (result === undefined) throw new Error(`${name}: ${error?.message}`)
    const [{ text }] = result.content as [{ text: string }]
    return { isError: result.isError === true, said: JSON.parse(text) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.stdin?.end()
    if ((await waitAtMost(this.ended, PATIENCE_MS, systemClock)) === LATE) this.child.kill('SIGKILL')
  }

  #hear(line: string): void {
    const answer = JSON.parse(line) as Answer
    const waiting = answer.id === null ? undefined : this.#waiting.get(answer.id)
    if (waiting === undefined) this.others.push(answer)
    else waiting(answer)
  }
}
