import { GitPublisher, type GitPublisherParts } from '#git/git-publisher.ts'
import type { HeadPlace } from './audit-heads.ts'

const GIT_TIMEOUT_MS = 15_000

/** Pushes heads to a branch of a remote, each on top of the one before: what was pushed cannot be taken back from here. */
export function gitPlace(remote: string, parts: GitPublisherParts): HeadPlace {
  return {
    name: 'git',
    keep: async (head) => {
      const branch = `s2-audit-${head.store}`
      await using publisher = await GitPublisher.open({ remote, branch, timeoutMs: GIT_TIMEOUT_MS }, parts)
      await publisher.publish(new Map([['head.json', `${JSON.stringify(head)}\n`]]), `audit head ${head.seq}`)
    },
  }
}
