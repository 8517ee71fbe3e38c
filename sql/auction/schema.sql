-- The application's own tables, as far as webhooks read them: the contract of the payload functions.
-- The extension does not create them; the demo, the tests and the benchmark do.

create table public.users (
    id uuid primary key default gen_random_uuid(),
    full_name text,
    email text not null unique
);

create table public.auctions (
    id uuid primary key default gen_random_uuid(),
    name text not null
);

create table public.auction_members (
    auction_id uuid not null references public.auctions (id) on delete cascade,
    user_id uuid not null references public.users (id) on delete cascade,
    role text not null default 'member' check (role in ('owner', 'admin', 'member')),
    primary key (auction_id, user_id)
);

create table public.locations (
    id uuid primary key default gen_random_uuid(),
    auction_id uuid not null references public.auctions (id) on delete cascade,
    name text not null
);

create table public.count_types (
    id uuid primary key default gen_random_uuid(),
    auction_id uuid not null references public.auctions (id) on delete cascade,
    name text not null
);

create table public.submissions (
    id uuid primary key default gen_random_uuid(),
    auction_id uuid not null references public.auctions (id) on delete cascade,
    location_id uuid references public.locations (id) on delete set null,
    user_id uuid references public.users (id) on delete set null,
    submitted_at timestamptz not null default now(),
    image_url text
);

create index submissions_by_auction on public.submissions (auction_id, submitted_at);

create table public.submission_entries (
    id uuid primary key default gen_random_uuid(),
    submission_id uuid not null references public.submissions (id) on delete cascade,
    type_id uuid references public.count_types (id) on delete set null,
    position integer not null default 0,
    car_count integer not null check (car_count >= 0),
    image_url text
);

create index submission_entries_by_submission on public.submission_entries (submission_id);
