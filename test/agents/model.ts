import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { until } from '../until.ts'
import { messagesApi } from './messages-api.ts'
import { type Answer, type Question, say } from './model-api.ts'
import { responsesApi } from './responses-api.ts'

export type Script = (question: Question) => Answer | Promise<Answer>

/** Gives one answer after the other; then it only says that it is done. */
export function inOrder(...answers: readonly Answer[]): Script {
  const left = [...answers]
  return () => left.shift() ?? say('done')
}

const APIS = { messages: messagesApi, responses: responsesApi }

/** Within this a client asks that will ask at all, on a machine with much else to do. */
const ASKED_MS = 60_000

/** A model on loopback for the two clients, which does what a test tells it to. */
export class MadeUpModel implements AsyncDisposable {
  /** What it was asked with tools in hand, the newest last. */
  readonly questions: Question[] = []
  /** What it answers whom: by key, and `otherwise` for all others. */
  readonly scripts = new Map<string, Script>()
  otherwise: Script = inOrder()
  readonly #server = createServer((request, response) => {
    this.#answer(request, response).catch((error: Error) => response.destroy(error))
  })

  static async start(script?: Script): Promise<MadeUpModel> {
    const model = new MadeUpModel()
    if (script !== undefined) model.otherwise = script
    model.#server.listen(0, '127.0.0.1')
    await once(model.#server, 'listening')
    return model
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Waits until it was asked something of which this is so, and answers the first such question. */
  async asked(what: string, isSo: (question: Question) => boolean, mostMs = ASKED_MS): Promise<Question> {
    const find = (): Question | undefined => this.questions.find(isSo)
    await until(`the model is asked ${what}`, find, mostMs).catch((error: Error) => {
      const heard = this.questions.map(({ key, newest }) => `${key}: ${newest.slice(-300)}`).join('\n--\n')
      throw new Error(`${error.message}; it was asked:\n${heard}`)
    })
    return find() as Question
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.#server.closeAllConnections()
    await closed
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const path = request.url?.split('?')[0] ?? ''
    const api = path.endsWith('/messages') ? 'messages' : path.endsWith('/responses') ? 'responses' : null
    if (request.method !== 'POST' || api === null) {
      send(response, 404, {
        type: 'error',
        error: { type: 'not_found_error', message: 'a made-up model has only answers' },
      })
      return
    }
    const body = JSON.parse(Buffer.concat(chunks).toString('utf8')) as Record<string, unknown>
    const question = { api, key: keyOf(request), body, at: Date.now(), ...APIS[api].read(body) } as const
    if (question.tools.length === 0) {
      APIS[api].write({ kind: 'say', text: 'a title' }, question, response)
      return
    }
    this.questions.push(question)
    give(await (this.scripts.get(question.key) ?? this.otherwise)(question), question, response)
  }
}

function give(answer: Answer, question: Question, response: ServerResponse): void {
  if (answer.kind === 'silence') return
  if (answer.kind === 'drop') {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('event: ping\ndata: {"type":"ping"}\n\n', () => response.destroy())
  } else if (answer.kind === 'refuse') {
    const { status, type, text, headers } = answer
    send(response, status, { type: 'error', error: { type, message: text } }, headers)
  } else APIS[question.api].write(answer, question, response)
}

function keyOf({ headers }: IncomingMessage): string {
  const key = headers['x-api-key'] ?? headers.authorization?.replace(/^Bearer /, '') ?? ''
  return Array.isArray(key) ? (key[0] ?? '') : key
}

function send(response: ServerResponse, status: number, body: object, headers: Readonly<Record<string, string>> = {}) {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
}
