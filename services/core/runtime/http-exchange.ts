import { request as plainRequest } from 'node:http'
import { request as secureRequest } from 'node:https'
import { socketPath } from './long-socket-path.ts'
import type { Address } from './setting-parsers.ts'

export interface HttpRequest {
  /** A URL, or the address of one of our programs and a path there. */
  readonly to: URL | { readonly address: Address; readonly path: string }
  readonly method?: 'GET' | 'POST'
  readonly body?: string
  /** PEM of the authority to trust instead of the machine's. */
  readonly authority?: string | undefined
  /** Trusts whatever certificate there is: for what is sealed and signed by itself. */
  readonly anyCertificate?: boolean
  readonly contentType?: string
  /** Sent as `Authorization: Bearer`. */
  readonly bearer?: string | undefined
  /** Most characters of an answer; a longer one is an error. */
  readonly answerMax: number
}

export interface HttpAnswer {
  readonly status: number
  readonly body: string
}

/**
 * Sends one small request over a connection of its own and answers the whole response as text; redirections are not followed.
 * Rejects as node:http does, and when the signal aborts: the caller bounds the wait.
 */
export async function httpExchange(asked: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
  const { to, body = '' } = asked
  using socket = !(to instanceof URL) && 'path' in to.address ? socketPath(to.address.path) : null
  return await new Promise((resolve, reject) => {
    const { method = 'GET', authority, contentType, bearer, anyCertificate = false } = asked
    const options = {
      method,
      signal,
      agent: false as const,
      headers: {
        accept: 'application/json',
        ...(contentType === undefined ? {} : { 'content-type': contentType }),
        ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
      },
      ...(anyCertificate ? { rejectUnauthorized: false } : {}),
      ...(authority === undefined ? {} : { ca: authority }),
    }
    const open = to instanceof URL && to.protocol === 'https:' ? secureRequest : plainRequest
    const request =
      to instanceof URL
        ? open(to, options)
        : open({ ...options, path: to.path, ...(socket === null ? to.address : { socketPath: socket.path }) })
    request.on('response', (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        text += chunk
        if (text.length > asked.answerMax) response.destroy(new Error('the answer is too long'))
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }))
      response.on('error', reject)
    })
    request.on('error', reject)
    request.end(body)
  })
}
