import { type MovedGroup, movedGroups } from './client-settings.ts'
import { realPath } from './codex-hooks.ts'
import { tableText, withoutTable, withRenamedTable } from './edit-toml.ts'
import type { FileChange } from './file-edits.ts'

/** Codex keeps its trust by the place of a hook: where one moves up, as a hook of S2 before it goes, its trust goes with it. */
export interface TrustMove {
  readonly from: string
  readonly to: string
}

/** What becomes of the keys of other hooks by a change of a file of hooks; what moves first frees the place of the next. */
export function trustMoves({ path, before, after }: FileChange): TrustMove[] {
  return movedGroups(before ?? '', after ?? '', 'codex').flatMap((moved) =>
    [...new Set([path, realPath(path)])].flatMap((place) => movesOf(place, moved)),
  )
}

function movesOf(place: string, { event, from, to, hooks }: MovedGroup): TrustMove[] {
  const name = event.replaceAll(/(?<!^)[A-Z]/g, (letter) => `_${letter}`).toLowerCase()
  return Array.from({ length: hooks }, (_, index) => ({
    from: `${place}:${name}:${from}:${index}`,
    to: `${place}:${name}:${to}:${index}`,
  }))
}

/** Codex's settings with the trust of hooks at their new places. What stood there was of a hook that has gone. */
export function withMovedTrust(text: string, moves: readonly TrustMove[]): string {
  return moves.reduce((moved, { from, to }) => {
    if (tableText(moved, headerOf(from)) === null) return moved
    return withRenamedTable(withoutTable(moved, headerOf(to)), headerOf(from), headerOf(to))
  }, text)
}

function headerOf(key: string): string {
  return `hooks.state.${JSON.stringify(key)}`
}
