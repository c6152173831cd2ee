import type { ReservationChoice } from '#fleet/reservation.ts'
import type { ReleaseWish } from './member.ts'

/** Files of a repository, by globs from its top. */
export interface NamedFiles {
  readonly repository: readonly string[]
  readonly globs: readonly string[]
}

/** Reads files as an agent names them: from the folder that it works in, or of the repository that it names. */
export type ReadFiles = (typed: readonly string[], repository: string | null) => Promise<NamedFiles>

/** What is to be released. All of a repository that is named means that one, wherever the agent works. */
export async function chosenFiles({ globs, repository }: ReleaseWish, files: ReadFiles): Promise<ReservationChoice> {
  if (globs === null && repository !== null) return { globs, repository: [repository] }
  const named = await files(globs ?? [], repository)
  return { globs: globs === null ? null : named.globs, repository: named.repository }
}
