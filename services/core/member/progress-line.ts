import type { SaidProgress } from './member.ts'

/** The line that people read of a task. */
export function progressLine({ percent, note }: Pick<SaidProgress, 'percent' | 'note'>): string | null {
  const parts = [percent === null ? null : `${percent}%`, note].filter((part) => part !== null && part !== '')
  return parts.length === 0 ? null : parts.join(' · ')
}
