import { createServer } from 'node:http'
import { WHY_MAX } from '#fleet/cut-text.ts'
import { redactedHead } from '#fleet/redact.ts'
import type { ChannelTest } from '#runtime/alert-test.ts'
import type { Clock } from '#runtime/clock.ts'
import { listen } from '#runtime/health.ts'
import type { AlertChannel } from './alert-channels.ts'
import type { Notice } from './alert-text.ts'

const SUMMARY = 'nothing is wrong; somebody called s2 alert test to see whether alerts get through'

/** Sends one test alert through each channel, all at once, as alerts of incidents are sent. */
export async function testChannels(
  channels: readonly AlertChannel[],
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<readonly ChannelTest[]> {
  const at = clock.wall()
  const incident = { id: 0, cause: 'test', kind: 'test', agent: null, summary: SUMMARY } as const
  const notice: Notice = {
    event: 'test',
    incident: { ...incident, openedAt: at, closedAt: at, outcome: null, retold: 0 },
  }
  return await Promise.all(
    channels.map(async (channel) => {
      const began = clock.now()
      const why = await channel.tell(notice, signal).then(
        () => null,
        (error: Error) => redactedHead(error.message, WHY_MAX),
      )
      const tookMs = Math.round(clock.now() - began)
      return { channel: channel.name, outcome: why === null ? 'told' : 'failed', why, tookMs }
    }),
  )
}

/** Answers `POST /test` with what became of a test until disposed; who asks while one goes on shares its outcome. */
export async function serveAlertTests(
  path: string,
  test: () => Promise<readonly ChannelTest[]>,
): Promise<AsyncDisposable> {
  let running: Promise<readonly ChannelTest[]> | null = null
  const server = createServer((request, response) => {
    if (request.method !== 'POST' || request.url !== '/test') {
      response.writeHead(404).end()
      return
    }
    running ??= test().finally(() => {
      running = null
    })
    running.then(
      (outcomes) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(outcomes)),
      () => response.writeHead(500).end(),
    )
  })
  await listen(server, { path })
  server.unref()
  return {
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
