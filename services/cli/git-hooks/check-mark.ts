import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Checkout } from '#git/checkout.ts'

/** How long a check counts for the commit after it: a person may write its message meanwhile. */
const COUNTS_MS = 3_600_000

/** Notes beside the index that a tree was checked before its commit: what is not noted was committed past the check. */
export function markChecked(checkout: Checkout, tree: string, now: number): void {
  writeFileSync(markOf(checkout), JSON.stringify({ tree, at: now }), { mode: 0o600 })
}

/** Whether a tree was checked a short time ago; a mark counts once. */
export function takeMark(checkout: Checkout, tree: string, now: number): boolean {
  const mark = readMark(checkout)
  removeMark(checkout)
  return mark?.tree === tree && typeof mark.at === 'number' && Math.abs(now - mark.at) < COUNTS_MS
}

export function removeMark(checkout: Pick<Checkout, 'gitFolder'>): void {
  rmSync(markOf(checkout), { force: true })
}

function readMark(checkout: Checkout): { readonly tree?: unknown; readonly at?: unknown } | null {
  try {
    return JSON.parse(readFileSync(markOf(checkout), 'utf8')) as object | null
  } catch {
    return null
  }
}

function markOf({ gitFolder }: Pick<Checkout, 'gitFolder'>): string {
  return join(gitFolder, 's2-checked')
}
