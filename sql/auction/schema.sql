-- Tables of the application that webhooks read: the contract of the payload queries. The extension
-- does not create them; the demo, the tests and the benchmark do.

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
    id uuid primary key default gen_random_uuid(),
    auction_id uuid not null references public.auctions (id) on delete cascade,
    user_id uuid not null references public.users (id) on delete cascade,
    role text not null default 'member' check (role in ('owner', 'admin', 'member')),
    invited_by uuid references public.users (id) on delete set null,
    joined_at timestamptz not null default now(),
    unique (auction_id, user_id)
);

create table public.auction_invitations (
    id uuid primary key default gen_random_uuid(),
    auction_id uuid not null references public.auctions (id) on delete cascade,
    email text not null,
    -- The invited user, if there is an account already.
    user_id uuid references public.users (id) on delete cascade,
    role text not null default 'member' check (role in ('owner', 'admin', 'member')),
    invited_by uuid references public.users (id) on delete set null,
    invited_at timestamptz not null default now(),
    unique (auction_id, email)
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

create table public.inspections (
    id uuid primary key default gen_random_uuid(),
    auction_id uuid not null references public.auctions (id) on delete cascade,
    location_id uuid references public.locations (id) on delete set null,
    user_id uuid references public.users (id) on delete set null,
    vin_number text,
    barcode text,
    submitted_at timestamptz not null default now()
);

create table public.inspection_defects (
    id uuid primary key default gen_random_uuid(),
    inspection_id uuid not null references public.inspections (id) on delete cascade,
    category text not null,
    notes text,
    position integer not null default 0
);

create index inspection_defects_by_inspection on public.inspection_defects (inspection_id);

-- Problems are called rock reports by users of the application.
create table public.problems (
    id uuid primary key default gen_random_uuid(),
    auction_id uuid not null references public.auctions (id) on delete cascade,
    issue_name text not null,
    area text,
    location_id uuid references public.locations (id) on delete set null,
    status text not null default 'open' check (status in ('open', 'in_progress', 'closed')),
    prepared_by uuid references public.users (id) on delete set null,
    assigned_to uuid references public.users (id) on delete set null,
    updated_at timestamptz not null default now()
);

create table public.problem_actions (
    id uuid primary key default gen_random_uuid(),
    problem_id uuid not null references public.problems (id) on delete cascade,
    description text not null,
    completed_at timestamptz,
    completed_by uuid references public.users (id) on delete set null
);

create index problem_actions_by_problem on public.problem_actions (problem_id);

create table public.channels (
    id uuid primary key default gen_random_uuid(),
    auction_id uuid not null references public.auctions (id) on delete cascade,
    name text not null,
    description text,
    is_private boolean not null default false,
    created_by uuid references public.users (id) on delete set null,
    created_at timestamptz not null default now(),
    archived_at timestamptz
);

create table public.messages (
    id uuid primary key default gen_random_uuid(),
    -- Auction of the channel; the application's own policies need it here.
    auction_id uuid not null references public.auctions (id) on delete cascade,
    channel_id uuid not null references public.channels (id) on delete cascade,
    user_id uuid references public.users (id) on delete set null,
    content text not null,
    message_type text not null default 'text',
    parent_message_id uuid references public.messages (id) on delete set null,
    -- Ids of users.
    mentions uuid[] not null default '{}',
    created_at timestamptz not null default now(),
    edited_at timestamptz,
    deleted_at timestamptz
);

create index messages_by_channel on public.messages (channel_id, created_at);
create index messages_by_parent on public.messages (parent_message_id);
