import type { SignedHead } from '#fleet/audit-head.ts'
import { GitPublisher, type GitPublisherParts } from '#git/git-publisher.ts'
import { httpExchange } from '#runtime/http-exchange.ts'

/** Where heads are kept off this machine. */
export interface HeadPlace {
  readonly name: string
  /** Keeps a head there; rejects when it was not taken. */
  keep(head: SignedHead, signal: AbortSignal): Promise<void>
}

const GIT_TIMEOUT_MS = 15_000

/** Pushes heads to a branch of a remote, each on top of the one before: what was pushed cannot be taken back from here. */
export function gitPlace(remote: string, parts: GitPublisherParts): HeadPlace {
  return {
    name: 'git',
    keep: async (head, signal) => {
      const branch = `s2-audit-${head.store}`
      await using publisher = await GitPublisher.open(
        { remote, branch, timeoutMs: GIT_TIMEOUT_MS },
        { ...parts, signal },
      )
      await publisher.publish(new Map([['head.json', `${JSON.stringify(head)}\n`]]), `audit head ${head.seq}`)
    },
  }
}

/** Posts heads as JSON; only an answer of 2xx says that one was taken. Errors do not tell the address, which may be secret. */
export function webhookPlace(url: URL): HeadPlace {
  return {
    name: 'webhook',
    keep: async (head, signal) => {
      const asked = { to: url, method: 'POST' as const, body: JSON.stringify(head), answerMax: 65_536 }
      const { status } = await httpExchange(asked, signal).catch((error: NodeJS.ErrnoException) => {
        throw new Error(`the webhook was not reached: ${error.code ?? error.name}`)
      })
      if (status < 200 || status > 299) throw new Error(`the webhook did not take it: status ${status}`)
    },
  }
}
